//! Keeps what a step writes: all of it in a file, the last lines in memory, every piece as an event.
//!
//! A step is never held up by its readers and never clipped; memory is bounded whatever it writes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::fcntl_setpipe_size;

use crate::event::Stream;
use crate::veil::{Hidden, Veil};

/// How many lines a failure shows.
const LAST_LINES: usize = 50;
/// Bytes of one line that a failure shows; the rest is in the file.
const LINE_BYTES_MAX: usize = 4096;
/// Bytes read at once, and what a pipe holds if the system allows it.
const CHUNK_BYTES: usize = 256 * 1024;

/// The ends of a step's pipes that the builder reads.
pub(crate) struct Pipes {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// The output of one step.
pub(crate) struct StepLog {
    path: PathBuf,
    file: Option<File>,
    lines: VecDeque<Vec<u8>>,
    current: Vec<u8>,
    /// Whether something could not be written to the file.
    incomplete: bool,
}

impl StepLog {
    /// Returns a log that makes its file at `path` when there is something to write.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, lines: VecDeque::new(), current: Vec::new(), incomplete: false }
    }

    /// Reads both pipes until their writers are gone, passing each piece to `report`, without what is hidden.
    pub(crate) fn follow(&mut self, pipes: Pipes, hidden: &Hidden, report: &dyn Fn(Stream, &[u8])) -> io::Result<()> {
        for pipe in [&pipes.stdout, &pipes.stderr] {
            // With less, a step that writes much waits more often.
            let _bytes = fcntl_setpipe_size(pipe, CHUNK_BYTES);
        }
        let mut open = vec![
            (Stream::Stdout, File::from(pipes.stdout), Veil::new(hidden)),
            (Stream::Stderr, File::from(pipes.stderr), Veil::new(hidden)),
        ];
        let mut buffer = vec![0; CHUNK_BYTES];
        while !open.is_empty() {
            let ready = {
                let mut polled: Vec<PollFd<'_>> =
                    open.iter().map(|(_, pipe, _)| PollFd::new(pipe, PollFlags::IN)).collect();
                match poll(&mut polled, None) {
                    Ok(_) => {}
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                }
                polled.iter().map(|polled| !polled.revents().is_empty()).collect::<Vec<bool>>()
            };
            let mut at_end = vec![false; open.len()];
            for (index, (stream, pipe, veil)) in open.iter_mut().enumerate().filter(|(index, _)| ready[*index]) {
                let seen = |piece: &[u8]| {
                    self.add(piece);
                    report(*stream, piece);
                };
                match pipe.read(&mut buffer)? {
                    0 => {
                        at_end[index] = true;
                        veil.end(seen);
                    }
                    count => veil.pass(&buffer[..count], seen),
                }
            }
            let mut ended = at_end.into_iter();
            open.retain(|_| !ended.next().unwrap_or(false));
        }
        Ok(())
    }

    /// Adds lines of the builder's own after what the step wrote. They are none of its last lines.
    pub(crate) fn say(&mut self, lines: &str, report: &dyn Fn(Stream, &[u8])) {
        if lines.is_empty() {
            return;
        }
        let text = if self.current.is_empty() { lines.to_owned() } else { format!("\n{lines}") };
        self.keep(text.as_bytes());
        report(Stream::Stderr, text.as_bytes());
    }

    /// Writes to the file. A disk that is full must not end a step that could go on, so what cannot be written is not.
    fn keep(&mut self, bytes: &[u8]) {
        if self.incomplete {
            return;
        }
        let written = match &mut self.file {
            Some(file) => file.write_all(bytes),
            slot @ None => File::create_new(&self.path).and_then(|file| slot.insert(file).write_all(bytes)),
        };
        self.incomplete = written.is_err();
    }

    fn add(&mut self, bytes: &[u8]) {
        self.keep(bytes);
        let mut bytes = bytes;
        if let Some(start) = last_lines_start(bytes) {
            // Nothing before these is shown, so nothing is spent on it.
            self.lines.clear();
            self.current.clear();
            bytes = &bytes[start..];
        }
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = LINE_BYTES_MAX.saturating_sub(self.current.len());
            self.current.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if self.lines.len() == LAST_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(std::mem::take(&mut self.current));
    }

    /// Returns the last lines, oldest first, as text.
    pub(crate) fn last_lines(&mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.end_line();
        }
        self.lines.iter().map(|line| String::from_utf8_lossy(line).trim_end_matches('\r').to_owned()).collect()
    }

    /// Returns where the file is, or would be.
    pub(crate) fn file(&self) -> &Path {
        &self.path
    }

    /// Returns the file with everything, if there was anything and all of it could be written.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.file.as_ref().filter(|_| !self.incomplete).map(|_| self.path.as_path())
    }
}

/// Returns where the last lines begin, if there are more in `bytes` than are ever shown.
fn last_lines_start(bytes: &[u8]) -> Option<usize> {
    let mut end = bytes.len();
    for _ in 0..=LAST_LINES {
        end = bytes[..end].iter().rposition(|&byte| byte == b'\n')?;
    }
    Some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(pieces: &[&[u8]]) -> (tempfile::TempDir, StepLog) {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut log = StepLog::new(directory.path().join("1.log"));
        for piece in pieces {
            log.add(piece);
        }
        (directory, log)
    }

    #[test]
    fn lines_are_joined_across_pieces() {
        let (_directory, mut log) = log(&[b"a", b"b\nc\r\n", b"d"]);
        assert_eq!(log.last_lines(), ["ab", "c", "d"]);
        assert_eq!(std::fs::read(log.path().expect("there is a file")).expect("it can be read"), b"ab\nc\r\nd");
    }

    #[test]
    fn only_the_last_lines_are_kept_in_memory() {
        let text = (0..60).map(|number| number.to_string()).collect::<Vec<_>>().join("\n") + "\n";
        let (_directory, mut log) = log(&[text.as_bytes()]);
        let lines = log.last_lines();
        assert_eq!(lines.len(), LAST_LINES);
        assert_eq!(lines.first().map(String::as_str), Some("10"));
    }

    #[test]
    fn of_one_large_piece_the_last_lines_are_the_same_as_of_many_small_ones() {
        for count in [1, LAST_LINES - 1, LAST_LINES, LAST_LINES + 1, LAST_LINES + 2, 3 * LAST_LINES] {
            let text = (0..count).map(|number| number.to_string()).collect::<Vec<_>>().join("\n");
            for text in [text.clone(), text + "\n"] {
                let (_whole, mut whole) = log(&[b"before\nand ", text.as_bytes()]);
                let pieces: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
                let (_parts, mut parts) = log(&[&[b"before\nand ".as_slice()], pieces.as_slice()].concat());
                assert_eq!(whole.last_lines(), parts.last_lines(), "{count} lines");
            }
        }
    }

    #[test]
    fn an_endless_line_does_not_fill_the_memory() {
        let (_directory, mut log) = log(&[&[b'x'; 10_000], &[b'x'; 10_000]]);
        assert_eq!(log.last_lines()[0].len(), LINE_BYTES_MAX);
    }

    #[test]
    fn a_log_that_cannot_be_written_is_not_offered_and_the_last_lines_are_kept() {
        let mut log = StepLog::new("/dev/full/1.log".into());
        log.add(b"one\n");
        assert_eq!(log.path(), None);
        assert_eq!(log.last_lines(), ["one"]);
    }

    #[test]
    fn a_silent_step_has_no_file() {
        let (_directory, log) = log(&[]);
        assert_eq!(log.path(), None);
    }
}
