//! The `stave` command.

mod args;
mod human;
mod table;
mod template;

/// The line that `--version` prints.
pub(crate) fn version_line() -> String {
    format!("stave version {}", env!("CARGO_PKG_VERSION"))
}

fn main() {}
