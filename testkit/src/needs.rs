//! Says what a test needs of the machine, and prints one form of line where that is missing.
//!
//! `xtask test` sets the variables named here, counts the lines and fails on one that it did not expect.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Names the directory of stand-in images: `registries.conf`, `golang.tar`, `alpine.tar`, `busybox.tar`, `busybox-arm64`.
pub const STANDINS: &str = "STAVE_STANDINS";
/// Names a static `busybox` where the usual places have none.
pub const BUSYBOX: &str = "STAVE_BUSYBOX";
/// Names the unprivileged users of the tests, e.g. `ranges=alice,single=bob`.
pub const USERS: &str = "STAVE_TEST_USERS";

/// Names the directory with servers from package registries: `moto/` for S3, `azurite/` for Azure, `browser/` for what drives
/// a browser.
pub const SERVERS: &str = "STAVE_TEST_SERVERS";

/// Prints that a part of a test is left out, and why. The form is what `xtask test` counts.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn skipped(reason: &str) {
    let thread = std::thread::current();
    eprintln!("skipped: {}: {reason}", thread.name().unwrap_or("a test"));
}

/// The directory of the stand-in images, or nothing after saying so.
#[must_use]
pub fn standins() -> Option<PathBuf> {
    let dir = std::env::var_os(STANDINS).map(PathBuf::from);
    if dir.is_none() {
        skipped("no stand-in images are served (`cargo xtask test` does)");
    }
    dir
}

/// A server from a package registry, by its path among them, or nothing after saying so.
#[must_use]
pub fn server(path: &str) -> Option<PathBuf> {
    let found = std::env::var_os(SERVERS).map(|dir| Path::new(&dir).join(path)).filter(|path| path.exists());
    if found.is_none() {
        skipped(&format!("no server `{path}` (`cargo xtask test` installs it)"));
    }
    found
}

/// Chromium, the directory with what drives it, and the program that runs that, or nothing after saying so.
#[must_use]
pub fn browser() -> Option<(PathBuf, PathBuf, PathBuf)> {
    Some((program("chromium")?, server("browser/node_modules")?.parent()?.to_owned(), program("node")?))
}

/// A static `busybox` for arm64 among the stand-ins, or nothing after saying so.
#[must_use]
pub fn arm64_busybox() -> Option<PathBuf> {
    let path = standins()?.join("busybox-arm64");
    if path.is_file() {
        return Some(path);
    }
    skipped("the stand-ins have no busybox for arm64");
    None
}

/// The unprivileged user of this kind (`ranges` or `single`), or nothing after saying so.
#[must_use]
pub fn user(kind: &str) -> Option<String> {
    let users = std::env::var(USERS).unwrap_or_default();
    let found = users.split(',').find_map(|pair| pair.strip_prefix(kind)?.strip_prefix('=').map(str::to_owned));
    if found.is_none() {
        skipped(&format!("no test user of the kind `{kind}` (`cargo xtask test` makes one when it runs as root)"));
    }
    found
}

/// The path of the program `name`, or nothing after saying so.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let found = find_program(name);
    if found.is_none() {
        skipped(&format!("the program `{name}` is not installed"));
    }
    found
}

/// The path of the program `name` on `PATH` or among the system's own.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Whether the test runs as root, or nothing after saying so.
#[must_use]
pub fn root() -> Option<()> {
    if rustix::process::geteuid().is_root() {
        return Some(());
    }
    skipped("not root");
    None
}

/// The path of a static `busybox`, or nothing.
#[must_use]
pub fn busybox() -> Option<PathBuf> {
    let named = std::env::var_os(BUSYBOX);
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(OsString::from);
    named.into_iter().chain(places).map(PathBuf::from).find(|path| is_static(path))
}

/// Whether the file is an ELF program that names no interpreter (a dynamic one names `/lib.../ld-...`).
fn is_static(path: &Path) -> bool {
    let Ok(bytes) = fs::read(path) else { return false };
    let start = &bytes[..bytes.len().min(4096)];
    start.starts_with(b"\x7fELF") && !start.windows(4).any(|window| window == b"/ld-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_not_taken_for_a_static_one() {
        let shell = fs::canonicalize("/bin/sh").expect("a shell");
        assert!(!is_static(&shell));
        assert!(!is_static(Path::new("/etc/passwd")));
    }
}
