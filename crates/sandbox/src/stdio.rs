//! The step's descriptors 0, 1 and 2.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown, fstat, open};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::error::{During, forgive};
use crate::person::Person;
use crate::step::Reporter;
use crate::wire::Report;
use crate::{SandboxError, WindowSize, sys};

/// Puts the caller's three descriptors in place.
pub(crate) fn streams(streams: &[OwnedFd], person: &Person) -> Result<(), SandboxError> {
    if streams.len() != 3 {
        return Err(SandboxError::Protocol { detail: format!("{} streams for a step", streams.len()) });
    }
    for (number, stream) in (0..).zip(streams) {
        let status = fstat(stream).during("look at", "a stream")?;
        // Lets a step of another user open `/dev/stdout`, which is the pipe itself.
        if FileType::from_raw_mode(status.st_mode) == FileType::Fifo && person.uid != 0 {
            // The pipe may belong to nobody here; then the step must do without.
            forgive(fchown(stream, Some(Uid::from_raw(person.uid)), Some(Gid::from_raw(person.gid))));
        }
        sys::place(stream.as_fd(), number).during("place", "a stream")?;
    }
    Ok(())
}

/// Makes a terminal in the step's own `/dev/pts`, sends its other end, and makes it the controlling one.
pub(crate) fn terminal(size: WindowSize, person: &Person, reporter: &Reporter<'_>) -> Result<(), SandboxError> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let controller = open("/dev/pts/ptmx", flags, Mode::empty()).during("open", "/dev/pts/ptmx")?;
    unlockpt(&controller).during("unlock", "a terminal")?;
    let terminal = ioctl_tiocgptpeer(&controller, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .during("open", "a terminal")?;
    fchown(&terminal, Some(Uid::from_raw(person.uid)), None).during("give the step", "its terminal")?;
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).during("size", "a terminal")?;
    rustix::process::ioctl_tiocsctty(&terminal).during("take", "a terminal")?;
    reporter.send(&Report::Terminal, &[&controller])?;
    for number in 0..3 {
        sys::place(terminal.as_fd(), number).during("place", "a terminal")?;
    }
    Ok(())
}
