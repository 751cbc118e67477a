//! A `RUN` that reaches the network by a proxy alone, which records what it asks for (E019).
//!
//! See `docs/decisions/0025-a-proxy-for-steps.md`.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, Timespec, Timestamps, fstat, openat2};
use rustix::io::Errno;
use stave_http::{Reach, Setup};
use stave_proxy::{Authority, Exchange, Proxy, Settings};
use stave_sandbox::{Network, Outlet, Running, StepSpec};
use stave_store::WorkDir;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::requests::Recorder;

/// Where the proxy listens in the step's network, in which nothing else does.
const PORT: u16 = 61080;

/// The variables that lead programs to the proxy, in both cases that programs know.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
/// The variables that say what is reached without it, and what that is: the step itself. Where the proxy leads to this
/// machine, these names mean that.
const DIRECT: [&str; 2] = ["NO_PROXY", "no_proxy"];
const ITSELF: &str = "localhost,127.0.0.1,::1";

/// Largest file of trusted certificates that is looked at when a step has changed it, in bytes: more than a step is shown.
const BUNDLE_BYTES_MAX: u64 = 64 << 20;

/// The way of one step to the network.
pub(crate) struct Way<'a> {
    pub(crate) recorder: &'a Recorder,
    pub(crate) authority: Arc<Authority>,
    /// Whether it leads to this machine, too.
    pub(crate) reach: Reach,
}

impl<'a> Way<'a> {
    /// Returns the way of a step that asks for the network of this machine, or not.
    pub(crate) fn new(recorder: &'a Recorder, wants_host_network: bool) -> Result<Self, EngineError> {
        let reach = if wants_host_network { Reach::Everything } else { Reach::Others };
        Ok(Self { recorder, authority: recorder.authority()?, reach })
    }

    /// Has the step see nothing of the network but the proxy.
    pub(crate) fn narrow(&self, spec: &mut StepSpec) {
        spec.network = Network::None;
        spec.resolv_conf.clear();
        spec.outlet = Some(Outlet { port: PORT, trusted: self.authority.pem().as_bytes().to_vec() });
        let proxy = format!("http://127.0.0.1:{PORT}");
        let direct = if self.reach == Reach::Everything { "" } else { ITSELF };
        let all = PROXIES.map(|name| (name, proxy.as_str())).into_iter().chain(DIRECT.map(|name| (name, direct)));
        for (name, value) in all {
            spec.env.retain(|entry| entry.split('=').next() != Some(name));
            spec.env.push(format!("{name}={value}"));
        }
    }

    /// Serves a step that has just started.
    pub(crate) fn serve(&self, engine: &Engine, running: &mut Running) -> Result<Served, EngineError> {
        let failed = |source| EngineError::io("serve", "the network of a step", source);
        let listener = running.take_outlet().ok_or_else(|| failed(std::io::ErrorKind::NotConnected.into()))?;
        let directory = engine
            .store
            .root_dir_fd()
            .try_clone_to_owned()
            .map_err(|source| EngineError::io("open", engine.store.root(), source))?;
        let settings = Settings {
            setup: Setup { reach: self.reach, ..Setup::new(engine.settings.registries.http.clone()) },
            judge: self.recorder.judge(),
            authority: Arc::clone(&self.authority),
            spool: Arc::new(move || spool(&directory)),
        };
        let proxy = Proxy::serve(listener, settings).map_err(failed)?;
        Ok(Served { proxy, extended: running.extended().to_vec() })
    }

    /// Takes the authority's certificate out of the files of trusted certificates that the step has changed.
    pub(crate) fn take_back(&self, engine: &Engine, work: &WorkDir, extended: &[String]) -> Result<(), EngineError> {
        let layer = engine.store_dir(&work.diff_rel_path())?.into_fd();
        for path in extended {
            take_out(&layer, path, self.authority.pem().as_bytes())
                .map_err(|source| EngineError::io("take the proxy's certificate out of", format!("/{path}"), source))?;
        }
        Ok(())
    }
}

/// A file that has no name, on the disk of the store.
fn spool(directory: &OwnedFd) -> std::io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory.as_fd(), "tmp", flags, Mode::from_raw_mode(0o600))?.into())
}

fn take_out(layer: &OwnedFd, path: &str, certificate: &[u8]) -> std::io::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let opened = match openat2(layer, path, flags, Mode::empty(), resolve) {
        // It was not changed, or there is no such file any more.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Ok(()),
        other => other?,
    };
    let status = fstat(&opened)?;
    let is_file = rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::RegularFile;
    if !is_file || u64::try_from(status.st_size).unwrap_or(u64::MAX) > BUNDLE_BYTES_MAX {
        return Ok(());
    }
    let mut file = File::from(opened);
    let mut bytes = Vec::new();
    std::io::Read::by_ref(&mut file).take(BUNDLE_BYTES_MAX).read_to_end(&mut bytes)?;
    let without = without(&bytes, certificate);
    if without.len() == bytes.len() {
        return Ok(());
    }
    file.rewind()?;
    file.write_all(&without)?;
    file.set_len(without.len() as u64)?;
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let nanoseconds = i64::try_from(status.st_mtime_nsec).unwrap_or_default();
    let modified = time(status.st_mtime, nanoseconds);
    let times = Timestamps { last_access: modified, last_modification: modified };
    rustix::fs::futimens(&file, &times)?;
    Ok(())
}

/// Returns `bytes` without each place where `part` stands.
fn without(bytes: &[u8], part: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(part.len().max(1)).position(|window| window == part) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + part.len().max(1)..];
    }
    out.extend_from_slice(rest);
    out
}

/// A step's proxy, and the files in which it trusts it.
pub(crate) struct Served {
    proxy: Proxy,
    extended: Vec<String>,
}

impl Served {
    /// Ends the proxy, when the step has ended. Returns what was asked, and the files of the root that began with the
    /// certificate.
    pub(crate) fn end(self) -> (Vec<Exchange>, Vec<String>) {
        (self.proxy.finish(), self.extended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_taken_out_wherever_it_stands_and_the_time_stays() {
        assert_eq!(without(b"abXcdXX", b"X"), b"abcd");
        assert_eq!(without(b"abc", b"abcd"), b"abc");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("f");
        std::fs::write(&path, "CERT\ntheirs\n").expect("it can be written");
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).expect("a time is set");
        std::os::unix::fs::symlink("f", directory.path().join("link")).expect("a link");
        let layer = OwnedFd::from(File::open(directory.path()).expect("it is there"));
        for path in ["link", "none", "f/none", ".", "f"] {
            take_out(&layer, path, b"CERT\n").expect("it is changed or left");
        }
        assert_eq!(std::fs::read(&path).expect("it is there"), b"theirs\n");
        assert_eq!(std::fs::metadata(&path).and_then(|found| found.modified()).expect("a time"), time);
    }
}
