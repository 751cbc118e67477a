//! A pseudo-terminal: its two ends, and a command whose standard error is one.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};

/// Returns the two ends of a terminal of this size: who holds the first is the person, the second is for a program.
#[must_use]
pub fn terminal(columns: u16, rows: u16) -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo-terminal");
    grantpt(&ours).expect("a pseudo-terminal");
    unlockpt(&ours).expect("a pseudo-terminal");
    resize(&ours, columns, rows);
    let name = ptsname(&ours, Vec::new()).expect("a pseudo-terminal");
    let name = name.into_string().expect("a path");
    let theirs = File::options().read(true).write(true).open(name).expect("a pseudo-terminal");
    (File::from(ours), theirs)
}

/// Gives a terminal another size, as a window that is made smaller.
pub fn resize(end: &impl std::os::fd::AsFd, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(end, size).expect("a pseudo-terminal");
}

/// Runs a command whose standard error is a terminal; returns how it ended and what the terminal got.
#[must_use]
pub fn on_terminal(mut command: Command, columns: u16, rows: u16) -> (ExitStatus, String) {
    let (mut ours, theirs) = terminal(columns, rows);
    let mut child = command.stdout(Stdio::null()).stderr(theirs).spawn().expect("the program starts");
    // Holds the last descriptor of the other end, without which reading does not end.
    drop(command);
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // The end of a terminal is an error.
        ours.read_to_end(&mut bytes).ok();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let status = child.wait().expect("waited for");
    (status, reader.join().expect("the reader does not panic"))
}
