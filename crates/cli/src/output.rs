//! Standard output: data for the next program, and nothing else.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use crate::failure::Failure;

/// Writes text to standard output. A reader that has gone ends the command without a word.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// The same with bytes that need not be text.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = Stdout;
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Failure::environment(&error))
}

/// Standard output, whose errors say that it is what could not be written.
pub(crate) struct Stdout;

/// Standard output could not be written.
#[derive(Debug)]
pub(crate) struct StdoutError(io::Error);

impl io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().map_err(named)
    }
}

/// The kind stays: a reader that has gone is known by it.
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Interrupted => error,
        kind => io::Error::new(kind, StdoutError(error)),
    }
}

impl fmt::Display for StdoutError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("cannot write to standard output")
    }
}

impl std::error::Error for StdoutError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
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
