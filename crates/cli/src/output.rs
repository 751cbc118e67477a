//! Standard output: data for the next program, and nothing else.

use std::io::{self, IsTerminal as _, Write as _};

use crate::failure::Failure;

/// Writes text to standard output. A reader that has gone ends the command without a word.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// The same with bytes that need not be text.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::environment(&error).within("cannot write to standard output"))
}

/// Writes lines, each with its end, to standard output.
pub(crate) fn lines(lines: &[String]) -> Result<(), Failure> {
    let mut all = lines.join("\n");
    if !lines.is_empty() {
        all.push('\n');
    }
    text(&all)
}

/// Fails if standard output is a terminal, which bytes would only confuse.
pub(crate) fn refuse_terminal(what: &str) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::usage(format!("standard output is a terminal, which {what} would only confuse"))
            .with_hint("Send it to a file or to another program."));
    }
    Ok(())
}
