//! The `stave` command.

mod args;

/// The line that `--version` prints.
pub(crate) fn version_line() -> String {
    format!("stave version {}", env!("CARGO_PKG_VERSION"))
}

fn main() {}
