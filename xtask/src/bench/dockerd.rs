//! A dockerd of our own: own data, own socket, no bridge, no firewall rules, base images from the stand-ins.

use crate::failure::{At, Failure, Result};
use crate::run::{self, Server};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running dockerd. Ends when it is dropped.
pub(super) struct Dockerd {
    socket: PathBuf,
    client: PathBuf,
    server: Option<Server>,
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.server = None;
        // Containers in the host's network leave a mount of its namespace behind.
        let netns = self.socket.with_file_name("exec/netns/default");
        if netns.exists() {
            Command::new("umount").arg(&netns).status().ok();
        }
    }
}

impl Dockerd {
    /// Starts it with everything below `home`.
    pub(super) fn start(home: &Path, mirror: SocketAddr) -> Result<Self> {
        let program = run::find("dockerd").ok_or_else(|| Failure::new("dockerd is not installed"))?;
        // Debian's client speaks to BuildKit by itself; others need a plugin for it.
        let debian = PathBuf::from("/usr/bin/docker");
        let client = Some(debian).filter(|path| path.is_file()).or_else(|| run::find("docker"));
        let client = client.ok_or_else(|| Failure::new("there is no docker client"))?;
        fs::create_dir_all(home).at("create", home)?;
        let (socket, log) = (home.join("docker.sock"), home.join("log"));
        let option = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
        let args = [
            "--iptables=false".to_owned(),
            "--ip6tables=false".to_owned(),
            "--bridge=none".to_owned(),
            option("data-root", home.join("data")),
            option("exec-root", home.join("exec")),
            option("pidfile", home.join("pid")),
            format!("--host=unix://{}", socket.display()),
            format!("--registry-mirror=http://{mirror}"),
        ];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut server = Server::start(&program, &args, &log)?;
        server.wait_until(&log, || UnixStream::connect(&socket).is_ok())?;
        Ok(Self { socket, client, server: Some(server) })
    }

    /// `docker ARGS` against it.
    pub(super) fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command.arg("--host").arg(format!("unix://{}", self.socket.display())).args(args);
        command.env("DOCKER_BUILDKIT", "1");
        command
    }
}
