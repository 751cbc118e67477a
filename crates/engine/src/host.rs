//! What a caller needs before there is an engine: a namespace to work in, a launcher, and what the host offers.
//!
//! These are other crates' words, handed on so that a caller has to know one crate only.

pub use stave_registry::Environment;
pub use stave_sandbox::probe::{Finding, State, probe};
pub use stave_sandbox::rootless::{IdMap, RootlessError, RootlessOptions, enter};
pub use stave_sandbox::{Launcher, SandboxError};

/// Whether a process with this `/proc/self/uid_map` is in a user namespace other than the first, where overlays keep
/// their notes in `user.*` attributes.
///
/// Reference: `user_namespaces(7)`, "User and group ID mappings"; `overlayfs.rst`, "userxattr".
#[must_use]
pub fn is_user_namespace(uid_map: &str) -> bool {
    let numbers: Vec<&str> = uid_map.split_ascii_whitespace().collect();
    numbers != ["0", "0", "4294967295"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_namespace_has_all_ids_as_they_are() {
        assert!(!is_user_namespace("         0          0 4294967295\n"));
        assert!(is_user_namespace("         0       1000          1\n"));
        assert!(is_user_namespace("0 1000 1\n1 100000 65536\n"));
        assert!(is_user_namespace(""));
    }
}
