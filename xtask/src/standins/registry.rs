//! Debian's `docker-registry` on a free port of the loopback interface.

use crate::failure::{At, Failure, Result};
use crate::run::{self, Server};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

/// A running registry. Ends when it is dropped, and with this process however that ends.
pub(crate) struct Registry {
    address: SocketAddr,
    _server: Server,
}

impl Registry {
    /// Serves what is stored in `dir/registry`.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let program = run::find("docker-registry").ok_or_else(|| Failure::new("docker-registry is not installed"))?;
        let run_dir = tempfile::tempdir_in(dir).at("create", dir)?.keep();
        let mut last = Failure::new("no port is free");
        // Between choosing a port and listening on it somebody else may take it; then another one is tried.
        for _ in 0..5 {
            let address = free_address(dir)?;
            let (config, log) = (run_dir.join("config.yml"), run_dir.join("log"));
            fs::write(&config, configuration(dir, address)).at("write", &config)?;
            let mut server = Server::start(&program, &["serve", &config.to_string_lossy()], &log)?;
            match server.wait_until(&log, || TcpStream::connect(address).is_ok()) {
                Ok(()) => {
                    // Both files have been read and opened; nothing is left for the next start to trip over.
                    fs::remove_dir_all(&run_dir).at("remove", &run_dir)?;
                    return Ok(Self { address, _server: server });
                }
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Pushes the only image of an OCI layout as `name`, in the manifest format `format`.
    pub(crate) fn push(&self, layout: &Path, name: &str, format: &str) -> Result {
        let mut command = Command::new("skopeo");
        command.args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", "--format", format]);
        command.arg(format!("oci:{}:{name}", layout.display())).arg(format!("docker://{}/{name}", self.address));
        run::quiet(&mut command)
    }

    /// Writes a `registries.conf` in which this registry is the mirror of docker.io.
    pub(crate) fn write_registries_conf(&self, path: &Path) -> Result {
        let address = self.address;
        let text = format!(
            "# Written by `cargo xtask`: stand-ins for the images of Docker Hub, from this machine.\n\
             unqualified-search-registries = [\"docker.io\"]\n\n\
             [[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\n\
             [[registry.mirror]]\nlocation = \"{address}\"\ninsecure = true\n\n\
             [[registry]]\nprefix = \"{address}\"\nlocation = \"{address}\"\ninsecure = true\n"
        );
        fs::write(path, text).at("write", path)
    }
}

fn free_address(dir: &Path) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).at("find a free port for", dir)?;
    listener.local_addr().at("find a free port for", dir)
}

fn configuration(dir: &Path, address: SocketAddr) -> String {
    let storage = dir.join("registry");
    format!(
        "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
         rootdirectory: {}\nhttp:\n  addr: {address}\n",
        storage.display()
    )
}
