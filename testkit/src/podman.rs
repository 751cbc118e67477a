//! A service of Podman that belongs to one test: own storage, own socket; and what is sent to it, counted.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::needs;
use crate::output::Output;

/// A service of Podman, behind a socket that counts. Ends when it is dropped, and with the test however that ends.
#[derive(Debug)]
pub struct PodmanService {
    child: Child,
    program: PathBuf,
    socket: PathBuf,
    sent: Arc<AtomicU64>,
}

impl PodmanService {
    /// Starts one, or says why not.
    #[must_use]
    pub fn start(bench: &Bench) -> Option<Self> {
        needs::root()?;
        let program = needs::program("podman")?;
        let (own, socket) = (bench.path("podman.sock"), bench.path("counted.sock"));
        let log = fs::File::create(bench.path("podman.log")).expect("a writable bench");
        let mut command = bench.other(Path::new("setpriv"));
        command.args(["--pdeathsig", "KILL"]).arg(&program).args(places(bench));
        command.args(["system", "service", "--time=0", &format!("unix://{}", own.display())]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let mut child = command.spawn().expect("podman starts");
        let start = Instant::now();
        while UnixStream::connect(&own).is_err() {
            let ended = child.try_wait().expect("waited for");
            let log = || fs::read_to_string(bench.path("podman.log")).unwrap_or_default();
            assert!(ended.is_none() && start.elapsed() < Duration::from_mins(1), "podman: {}", log());
            std::thread::yield_now();
        }
        let sent = Arc::new(AtomicU64::new(0));
        let (listener, counter) = (UnixListener::bind(&socket).expect("a writable bench"), Arc::clone(&sent));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (own, counter) = (own.clone(), Arc::clone(&counter));
                std::thread::spawn(move || drop(passed_on(&client, &own, &counter)));
            }
        });
        Some(Self { child, program, socket, sent })
    }

    /// Its address, as `CONTAINER_HOST` has it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// How many bytes it was sent since the last call.
    #[must_use]
    pub fn take_sent(&self) -> u64 {
        self.sent.swap(0, Ordering::SeqCst)
    }

    /// Runs `podman ARGS` on its storage.
    #[must_use]
    pub fn podman(&self, bench: &Bench, args: &[&str]) -> Output {
        let mut command = bench.other(&self.program);
        // With it, podman would talk to the service and take no options of storage.
        command.args(places(bench)).args(args).env_remove("CONTAINER_HOST");
        bench.finish(command)
    }
}

fn places(bench: &Bench) -> Vec<String> {
    let place = |name: &str| bench.path(name).display().to_string();
    let (root, run) = (place("podman"), place("podman-run"));
    let options = ["--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
    options.into_iter().chain(["--cgroup-manager", "cgroupfs", "--events-backend", "none"]).map(str::to_owned).collect()
}

/// Passes a connection on, and counts what the client sends.
fn passed_on(client: &UnixStream, service: &Path, sent: &AtomicU64) -> io::Result<()> {
    let service = UnixStream::connect(service)?;
    let (mut from, mut to) = (client.try_clone()?, service.try_clone()?);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                sent.fetch_add(count as u64, Ordering::SeqCst);
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        });
        let answered = io::copy(&mut &service, &mut &*client).map(drop);
        // The answer is the end of the connection.
        let closed = client.shutdown(Shutdown::Both);
        answered.and(closed)
    })
}

impl Drop for PodmanService {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let asked = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let ended: io::Result<_> = self.child.wait();
        assert!(asked.is_ok() && ended.is_ok() || std::thread::panicking(), "podman ended before it was asked to");
    }
}
