//! A pseudo-terminal: its two ends, a command whose standard error is one, and a person who types on one.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a dialogue waits for what it expects, and for the end of a terminal that nobody writes to any more.
const PATIENCE: Duration = Duration::from_mins(2);

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

/// Runs a command on a terminal of its own. Types the second text of each pair when the first was seen after what was seen
/// for the pair before; returns how the command ended and all that the terminal got.
///
/// # Panics
/// If something that is expected is not seen in two minutes, or before the terminal ends.
#[must_use]
pub fn typed(
    mut command: Command,
    columns: u16,
    rows: u16,
    dialogue: &[(impl AsRef<str>, impl AsRef<str>)],
) -> (ExitStatus, String) {
    let (ours, theirs) = terminal(columns, rows);
    let copy = || theirs.try_clone().expect("a descriptor");
    let mut child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().expect("the program starts");
    drop((command, theirs));
    let mut writer = ours.try_clone().expect("a descriptor");
    let receiver = read(ours);
    let (mut bytes, mut seen) = (Vec::new(), 0);
    for (expected, answer) in dialogue {
        let expected = expected.as_ref();
        while !bytes[seen..].windows(expected.len()).any(|part| part == expected.as_bytes()) {
            let more = receiver.recv_timeout(PATIENCE);
            let text = || String::from_utf8_lossy(&bytes[seen..]).into_owned();
            let more = more.unwrap_or_else(|_| panic!("no `{expected}` in {:?}", text()));
            bytes.extend(more);
        }
        let parts = bytes[seen..].windows(expected.len());
        seen += parts.take_while(|part| *part != expected.as_bytes()).count() + expected.len();
        writer.write_all(answer.as_ref().as_bytes()).expect("it can be typed");
    }
    let status = child.wait().expect("waited for");
    while let Ok(more) = receiver.recv_timeout(PATIENCE) {
        bytes.extend(more);
    }
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

/// What a terminal gets, as it gets it.
fn read(mut ours: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // The end of a terminal is an error.
        while let Ok(count @ 1..) = ours.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
