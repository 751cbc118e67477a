//! The caller's terminal while it is a container's: raw, fed from standard input, and as large.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;

use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::Signals;
use stave_engine::sandbox::WindowSize;

use crate::failure::Failure;

/// What a terminal is taken for whose size nobody knows.
const SIZE: WindowSize = WindowSize { rows: 24, columns: 80 };

/// Returns the size of the caller's terminal.
pub(super) fn size() -> WindowSize {
    tcgetwinsize(std::io::stdout().as_fd())
        .ok()
        .filter(|size| size.ws_row > 0 && size.ws_col > 0)
        .map_or(SIZE, |size| WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Fails if a container wants the caller's terminal as its input, and there is none.
pub(super) fn require(input: bool) -> Result<(), Failure> {
    if input && !std::io::stdin().is_terminal() {
        return Err(Failure::usage("standard input is no terminal, which `-t` with `-i` needs")
            .with_hint("Leave `-t` out to connect a file or a pipe."));
    }
    Ok(())
}

/// The terminal's own manners, which come back when this is dropped.
pub(super) struct Raw(Option<Termios>);

impl Raw {
    /// Has every key go to the container.
    pub(super) fn begin() -> Self {
        let stdin = std::io::stdin();
        let Ok(before) = tcgetattr(stdin.as_fd()) else { return Self(None) };
        let mut raw = before.clone();
        raw.make_raw();
        let set = tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw);
        Self(set.is_ok().then_some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _restored = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, before);
        }
    }
}

/// Feeds a container's terminal from standard input, and keeps it as large as the caller's. Ends with the process.
pub(super) fn feed(terminal: OwnedFd, input: bool) {
    if let Ok(copy) = terminal.try_clone() {
        thread::spawn(move || follow_size(&copy));
    }
    if input {
        thread::spawn(move || copy(&mut std::io::stdin().lock(), &mut File::from(terminal)));
    }
}

fn follow_size(terminal: &OwnedFd) {
    let Ok(mut signals) = Signals::new([SIGWINCH]) else { return };
    for _ in signals.forever() {
        let WindowSize { rows, columns } = size();
        let _sized = tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 });
    }
}

fn copy(from: &mut impl std::io::Read, to: &mut File) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    // The end of the input is a key, too.
    drop(to.write_all(&[4]));
}

/// Shows what a terminal says until it ends.
pub(super) fn show(terminal: OwnedFd) {
    let mut terminal = File::from(terminal);
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        let mut out = std::io::stdout().lock();
        if out.write_all(&buffer[..count]).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}
