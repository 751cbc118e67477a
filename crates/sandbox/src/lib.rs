//! Runs one process in isolation: namespaces, mounts, capabilities, seccomp.
