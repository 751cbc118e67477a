//! Unpacking in a process that cannot reach anything else (R2 of the security rules).
//!
//! On this side one thread decompresses, and another hashes and feeds a pipe; the other side, whose root is the target
//! directory, reads entries and makes files. What the other side finds comes back as JSON.

use std::io::{self, PipeWriter, Read, Write as _};
use std::os::fd::AsFd as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::{Deserialize, Serialize};
use stave_oci::{DiffId, Hasher};
use stave_sandbox::{Job, JobInput};
use stave_tree::{Applied, Dir, LayerFormat, Limits, UnpackError, apply_layer, decompress, extract_archive};

use crate::engine::Engine;
use crate::error::EngineError;

/// The confined jobs of the engine: the table for [`stave_sandbox::Launcher::start`].
pub const JOBS: &[Job] =
    &[Job { name: APPLY_LAYER, run: apply_layer_job }, Job { name: EXTRACT_ARCHIVE, run: extract_archive_job }];

const APPLY_LAYER: &str = "apply-layer";
const EXTRACT_ARCHIVE: &str = "extract-archive";

/// Bytes that go from thread to thread and through the pipe at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Chunks that may be between the threads of this side.
const CHUNKS: usize = 4;

/// What the pipe should hold. Less serves, too: where the system allows no more, the two sides take turns more often.
const PIPE_BYTES: usize = 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Request {
    userxattr: bool,
}

/// What an unpacked archive was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Unpacked {
    /// Entries.
    pub(crate) entries: u64,
    /// Bytes of the uncompressed archive.
    pub(crate) tar_bytes: u64,
    /// Files whose owners this user namespace does not have; they are root's.
    pub(crate) unmapped: u64,
    /// Device nodes that could not be made.
    pub(crate) devices_skipped: u64,
    /// Directories that the archive needs and does not have: see [`stave_tree::adopt_directories`].
    pub(crate) implied: Vec<Vec<u8>>,
}

/// What was wrong in the confined process.
#[derive(Debug, Serialize, Deserialize)]
struct Wrong {
    /// The error with its causes, down to what the kernel said.
    text: String,
    /// What that was.
    errno: Option<i32>,
}

impl Wrong {
    /// Takes an error apart.
    fn new(error: &(dyn std::error::Error + 'static)) -> Self {
        let (mut text, mut cause) = (error.to_string(), error.source());
        while let Some(error) = cause {
            let errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
            if errno.is_some() {
                return Self { text, errno };
            }
            let said = error.to_string();
            // What an error says of its cause is not said again.
            if !text.ends_with(&said) {
                text = format!("{text}: {said}");
            }
            cause = error.source();
        }
        Self { text, errno: None }
    }
}

impl From<String> for Wrong {
    fn from(text: String) -> Self {
        Self { text, errno: None }
    }
}

/// [`Wrong`] on this side.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct ConfinedError {
    text: String,
    source: Option<io::Error>,
}

impl From<Wrong> for ConfinedError {
    fn from(wrong: Wrong) -> Self {
        Self { text: wrong.text, source: wrong.errno.map(io::Error::from_raw_os_error) }
    }
}

fn apply_layer_job(input: JobInput) -> Vec<u8> {
    work(input, |request, tar, root| {
        apply_layer(tar, root, LayerFormat { userxattr: request.userxattr }, &Limits::default())
    })
}

fn extract_archive_job(input: JobInput) -> Vec<u8> {
    work(input, |_, tar, root| extract_archive(tar, root, None, &Limits::default()))
}

/// Runs in the confined process: its first descriptor is its root, the second the tar.
fn work(
    input: JobInput,
    unpack: impl FnOnce(&Request, &mut dyn Read, &Dir) -> Result<Applied, UnpackError>,
) -> Vec<u8> {
    let result = (|| {
        let request: Request = serde_json::from_slice(&input.request).map_err(|error| Wrong::new(&error))?;
        let mut files = input.files.into_iter();
        let (Some(root), Some(tar)) = (files.next(), files.next()) else {
            return Err(Wrong::from("the job needs a directory and a stream".to_owned()));
        };
        let mut tar = io::BufReader::with_capacity(CHUNK_BYTES, std::fs::File::from(tar));
        let applied = unpack(&request, &mut tar, &Dir::from_fd(root)).map_err(|error| Wrong::new(&error))?;
        // What follows the end of the archive belongs to its digest.
        io::copy(&mut tar, &mut io::sink()).map_err(|error| Wrong::new(&error))?;
        Ok(Unpacked {
            entries: applied.entries,
            tar_bytes: 0,
            unmapped: applied.unmapped,
            devices_skipped: applied.devices_skipped,
            implied: applied.implied,
        })
    })();
    serde_json::to_vec(&result).unwrap_or_default()
}

/// Unpacks the layer in `blob`, compressed or not, into `into`. Returns the digest of its tar, and what it was.
pub(crate) fn unpack_layer(
    engine: &Engine,
    into: &Dir,
    blob: &mut (dyn Read + Send),
    what: &str,
) -> Result<(DiffId, Unpacked), EngineError> {
    run(engine, APPLY_LAYER, into, blob, what)
}

/// Unpacks an archive, compressed or not, into `into`.
pub(crate) fn extract(
    engine: &Engine,
    into: &Dir,
    archive: &mut (dyn Read + Send),
    what: &str,
) -> Result<Unpacked, EngineError> {
    run(engine, EXTRACT_ARCHIVE, into, archive, what).map(|(_, unpacked)| unpacked)
}

fn run(
    engine: &Engine,
    job: &str,
    into: &Dir,
    input: &mut (dyn Read + Send),
    what: &str,
) -> Result<(DiffId, Unpacked), EngineError> {
    let failed = |source: io::Error| EngineError::tree(format!("cannot unpack {what}"), source);
    let (reader, writer) = io::pipe().map_err(failed)?;
    rustix::pipe::fcntl_setpipe_size(&writer, PIPE_BYTES).ok();
    let request = serde_json::to_vec(&Request { userxattr: engine.settings.user_namespace }).unwrap_or_default();
    let child = engine.launcher()?.confined(job, &request, &[into.as_fd(), reader.as_fd()])?;
    drop(reader);
    let fed = thread::scope(|scope| {
        let (full, filled) = sync_channel(CHUNKS);
        let (used, empty) = sync_channel(CHUNKS);
        let hashing = scope.spawn(move || hash_and_feed(&filled, &used, writer));
        decompress_into(engine, input, &full, &empty)?;
        drop(full);
        Ok(hashing.join().expect("the feeder does not panic"))
    });
    let answer = child.wait()?;
    engine.go_on()?;
    let answer: Result<Unpacked, Wrong> = serde_json::from_slice(&answer).map_err(|error| failed(error.into()))?;
    // A broken stream makes the other side fail too; the cause is on this side.
    let (diff_id, tar_bytes) = fed.map_err(failed)?;
    let unpacked =
        answer.map_err(|wrong| EngineError::tree(format!("cannot unpack {what}"), ConfinedError::from(wrong)))?;
    Ok((diff_id, Unpacked { tar_bytes, ..unpacked }))
}

/// Decompresses all of `input` into chunks that are sent to `full`; those that come back by `empty` are used again. Ends
/// early, without an error, when nobody takes them any more.
fn decompress_into(
    engine: &Engine,
    input: &mut (dyn Read + Send),
    full: &SyncSender<Vec<u8>>,
    empty: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut tar = decompress(input).map_err(io::Error::other)?;
    loop {
        if engine.cancel().is_cancelled() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        let mut chunk = empty.try_recv().unwrap_or_default();
        fill(&mut chunk, &mut tar)?;
        if chunk.is_empty() || full.send(chunk).is_err() {
            return Ok(());
        }
    }
}

/// Makes `chunk` the next bytes of `input`: as many as belong into one, less only at the end.
fn fill(chunk: &mut Vec<u8>, input: &mut dyn Read) -> io::Result<()> {
    chunk.resize(CHUNK_BYTES, 0);
    let mut filled = 0;
    while filled < CHUNK_BYTES {
        match input.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    chunk.truncate(filled);
    Ok(())
}

/// Writes chunks into the pipe and returns the digest of them all, and how many bytes they are.
fn hash_and_feed(filled: &Receiver<Vec<u8>>, used: &SyncSender<Vec<u8>>, mut writer: PipeWriter) -> (DiffId, u64) {
    let (mut hasher, mut bytes) = (Hasher::new(), 0);
    for chunk in filled {
        // A reader that stopped early has failed, and says why in its answer.
        if writer.write_all(&chunk).is_err() {
            break;
        }
        hasher.update(&chunk);
        bytes += chunk.len() as u64;
        // If it is not taken back, another one is made.
        drop(used.try_send(chunk));
    }
    (hasher.finish(), bytes)
}
