//! What a container has written: kept in its directory, with the time of each piece, within a limit.
//!
//! A piece is a line `SECONDS.NANOSECONDS STREAM LENGTH`, the bytes, and a line's end. When a file is full it takes the
//! place of the older one, so that the latest of it are always there.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::event::Stream;

/// Bytes after which a log begins anew. There are two at most.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Longest piece that is believed.
const PIECE_BYTES_MAX: usize = 1 << 20;
/// The file that is written, and the one before it.
const NAMES: [&str; 2] = ["log", "log.1"];

/// Writes the log of one container.
pub(super) struct ContainerLog {
    directory: PathBuf,
    file: Mutex<Option<(File, u64)>>,
}

impl ContainerLog {
    /// Goes on with the log in a container's directory.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let file = append(&directory.join(NAMES[0]))?;
        let bytes = file.metadata()?.len();
        Ok(Self { directory: directory.to_owned(), file: Mutex::new(Some((file, bytes))) })
    }

    /// Adds a piece. A disk that is full must not end the container, so what cannot be written is not.
    pub(super) fn add(&self, stream: Stream, bytes: &[u8]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = match stream {
            Stream::Stdout => 'o',
            Stream::Stderr => 'e',
        };
        let mut piece = format!("{}.{:09} {name} {}\n", now.as_secs(), now.subsec_nanos(), bytes.len()).into_bytes();
        piece.extend_from_slice(bytes);
        piece.push(b'\n');
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((file, written)) = slot.as_mut() else { return };
        if *written + piece.len() as u64 > FILE_BYTES_MAX && *written > 0 {
            let turned = std::fs::rename(self.directory.join(NAMES[0]), self.directory.join(NAMES[1]))
                .and_then(|()| append(&self.directory.join(NAMES[0])));
            let Ok(fresh) = turned else {
                *slot = None;
                return;
            };
            (*file, *written) = (fresh, 0);
        }
        *written += piece.len() as u64;
        if file.write_all(&piece).is_err() {
            *slot = None;
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    std::os::unix::fs::OpenOptionsExt::mode(OpenOptions::new().append(true).create(true), 0o600).open(path)
}

/// One piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// When it was written, since 1970.
    pub time: Duration,
    /// Where to.
    pub stream: Stream,
    /// What.
    pub bytes: Vec<u8>,
}

/// Reads a log, and what is added to it meanwhile.
pub(super) struct LogReader {
    directory: PathBuf,
    file: Option<BufReader<File>>,
    /// Whether the file that is read was the latest when it was opened.
    latest: bool,
}

impl LogReader {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), file: None, latest: false }
    }

    /// Returns the next piece; nothing if there is none yet.
    pub(super) fn next(&mut self) -> io::Result<Option<LogPiece>> {
        loop {
            if self.file.is_none() {
                match File::open(self.directory.join(NAMES[1])) {
                    Ok(older) => (self.file, self.latest) = (Some(BufReader::new(older)), false),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => self.open_latest()?,
                    Err(error) => return Err(error),
                }
            }
            let Some(file) = &mut self.file else { return Ok(None) };
            if let Some(piece) = piece(file)? {
                return Ok(Some(piece));
            }
            if self.latest && !self.has_turned()? {
                return Ok(None);
            }
            self.open_latest()?;
            if self.file.is_none() {
                return Ok(None);
            }
        }
    }

    fn open_latest(&mut self) -> io::Result<()> {
        self.latest = true;
        match File::open(self.directory.join(NAMES[0])) {
            Ok(file) => self.file = Some(BufReader::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.file = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether another file is the latest by now.
    fn has_turned(&self) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt as _;
        let Some(file) = &self.file else { return Ok(false) };
        let own = file.get_ref().metadata()?;
        Ok(self.directory.join(NAMES[0]).metadata().is_ok_and(|latest| latest.ino() != own.ino()))
    }
}

/// Reads a piece, or goes back to where it would begin if it is not there in full.
fn piece(file: &mut BufReader<File>) -> io::Result<Option<LogPiece>> {
    let start = file.stream_position()?;
    let mut head = String::new();
    let found = match file.read_line(&mut head) {
        Ok(_) if head.ends_with('\n') => parse(head.trim_end()),
        _ => None,
    };
    if let Some((time, stream, length)) = found {
        let mut bytes = vec![0; length + 1];
        if file.read_exact(&mut bytes).is_ok() {
            bytes.pop();
            return Ok(Some(LogPiece { time, stream, bytes }));
        }
    }
    file.seek(SeekFrom::Start(start))?;
    Ok(None)
}

fn parse(head: &str) -> Option<(Duration, Stream, usize)> {
    let mut words = head.split(' ');
    let (seconds, nanoseconds) = words.next()?.split_once('.')?;
    let time = Duration::new(seconds.parse().ok()?, nanoseconds.parse().ok()?);
    let stream = match words.next()? {
        "o" => Stream::Stdout,
        "e" => Stream::Stderr,
        _ => return None,
    };
    let length = words.next()?.parse().ok().filter(|length| *length <= PIECE_BYTES_MAX)?;
    Some((time, stream, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_while_it_is_written_and_never_longer_than_two_files() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let log = ContainerLog::open(directory.path()).expect("a log");
        let mut reader = LogReader::new(directory.path());
        log.add(Stream::Stdout, b"one\n");
        log.add(Stream::Stderr, b"\xff\n\n");
        let first = reader.next().expect("readable").expect("a piece");
        assert_eq!((first.stream, first.bytes.as_slice()), (Stream::Stdout, &b"one\n"[..]));
        let second = reader.next().expect("readable").expect("a piece");
        assert_eq!((second.stream, second.bytes.as_slice()), (Stream::Stderr, &b"\xff\n\n"[..]));
        assert_eq!(reader.next().expect("readable"), None);
        let large = vec![b'x'; 64 << 10];
        let mut seen = 0;
        for _ in 0..400 {
            log.add(Stream::Stdout, &large);
            while reader.next().expect("readable").is_some() {
                seen += 1;
            }
        }
        assert_eq!(seen, 400, "a reader that keeps up misses nothing");
        let sizes = NAMES.map(|name| directory.path().join(name).metadata().map_or(0, |metadata| metadata.len()));
        assert!(sizes.iter().all(|size| *size <= FILE_BYTES_MAX), "{sizes:?}");
        let mut fresh = LogReader::new(directory.path());
        assert!(fresh.next().expect("readable").is_some());
    }
}
