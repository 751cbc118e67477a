//! A dockerd that belongs to one test: own data, own socket, no bridge, no firewall rules.

use crate::bench::Bench;
use crate::needs;
use crate::output::Output;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A dockerd of the test's own. Ends when it is dropped, and with the test however that ends.
#[derive(Debug)]
pub struct Dockerd {
    child: Child,
    socket: PathBuf,
    client: PathBuf,
}

impl Dockerd {
    /// Starts one that takes the images of Docker Hub from `mirror`, or says why not.
    #[must_use]
    pub fn start(bench: &Bench, mirror: Option<&str>) -> Option<Self> {
        needs::root()?;
        let program = needs::program("dockerd")?;
        let debian = PathBuf::from("/usr/bin/docker");
        let client = if debian.is_file() { debian } else { needs::program("docker")? };
        let home = bench.path("docker");
        fs::create_dir(&home).expect("a writable bench");
        let socket = home.join("sock");
        let log = fs::File::create(home.join("log")).expect("a writable bench");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
        let dirs = [("data-root", "data"), ("exec-root", "exec"), ("pidfile", "pid")];
        command.args(dirs.map(|(option, name)| format!("--{option}={}", home.join(name).display())));
        command.arg(format!("--host=unix://{}", socket.display()));
        command.args(mirror.map(|host| format!("--registry-mirror=http://{host}")));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let mut child = command.spawn().expect("dockerd starts");
        let start = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            let ended = child.try_wait().expect("waited for");
            let log = || fs::read_to_string(home.join("log")).unwrap_or_default();
            assert!(ended.is_none() && start.elapsed() < Duration::from_mins(1), "dockerd: {}", log());
            std::thread::yield_now();
        }
        Some(Self { child, socket, client })
    }

    /// Runs `docker ARGS` against it.
    #[must_use]
    pub fn docker(&self, bench: &Bench, args: &[&str]) -> Output {
        let mut command = self.command(bench);
        command.args(args);
        bench.finish(command)
    }

    /// Its address, as `DOCKER_HOST` has it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The command `docker` against it, to complete and start.
    #[must_use]
    pub fn command(&self, bench: &Bench) -> Command {
        let mut command = bench.other(&self.client);
        command.arg("--host").arg(format!("unix://{}", self.socket.display())).env("DOCKER_BUILDKIT", "1");
        command
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let asked =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM);
        let ended: io::Result<_> = self.child.wait();
        // Containers in the host's network leave a mount of its namespace behind, and it the bench's directory.
        let netns = self.socket.with_file_name("exec/netns/default");
        if netns.exists() {
            Command::new("umount").arg(&netns).status().ok();
        }
        assert!(asked.is_ok() && ended.is_ok() || std::thread::panicking(), "dockerd ended before it was asked to");
    }
}
