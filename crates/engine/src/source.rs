//! Opens what a build is made from: the Dockerfile's text, the context, its ignore file and the memory of its digests.
//!
//! It turns paths and streams of the user into an open directory and a text. Nothing in the context is followed out of it.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use stave_dockerfile::plan::Ignored;
use stave_graph::ContextId;
use stave_oci::BlobDigest;
use stave_oci::digest::hex;
use stave_pattern::IgnoreFile;
use stave_store::{Lease, WorkDir};
use stave_tree::limits::TEXT_BYTES_MAX;
use stave_tree::{Context, Dir, HashMemory, PathError, Time};

use crate::confined;
use crate::engine::{Engine, open_user_dir};
use crate::error::EngineError;
use crate::request::{ContextSource, DockerfileSource};

/// The Dockerfile and the context of one build.
pub(crate) struct Source {
    /// What the user calls the Dockerfile.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// The files.
    pub(crate) context: Context,
    /// What is left out of them.
    pub(crate) ignored: Option<Ignored>,
    /// Where the memory of the context's digests is saved.
    memory_name: Option<Vec<u8>>,
    /// Where an archive was unpacked; deleted with this.
    _unpacked: Option<WorkDir>,
}

/// A context before its ignore file is read.
struct Opened {
    root: Dir,
    /// The directory as the user gave it; none for an archive.
    path: Option<PathBuf>,
    unpacked: Option<WorkDir>,
    /// The text, where the stream of the context was a Dockerfile.
    text: Option<Vec<u8>>,
}

impl Source {
    /// Opens `context` and reads `dockerfile`.
    pub(crate) fn open(
        engine: &Engine,
        lease: &Lease,
        context: ContextSource,
        dockerfile: DockerfileSource,
    ) -> Result<Self, EngineError> {
        let mut opened = match context {
            ContextSource::Directory(path) => {
                Opened { root: open_context_dir(&path)?, path: Some(path), unpacked: None, text: None }
            }
            ContextSource::Stream(stream) => open_stream(engine, lease, stream)?,
        };
        let (name, bytes, beside) = read_dockerfile(&mut opened, dockerfile)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..offset].split(|&byte| byte == b'\n').count();
            EngineError::request(format!("`{name}` is not UTF-8 text: line {line} has a byte that is none"), None)
        })?;
        let ignored = read_ignore(&opened, beside)?;
        let ignore = ignored.as_ref().map(|ignored| ignored.rules.clone());
        let now = Time { seconds: (engine.settings.now)(), nanoseconds: 0 };
        let (memory, memory_name) = load_memory(engine, opened.path.as_deref(), now)?;
        let context = Context::open(opened.root, ignore, memory);
        Ok(Self { name, text, context, ignored, memory_name, _unpacked: opened.unpacked })
    }

    /// Returns the files of a context. There is only the build context.
    pub(crate) fn context(&self, context: ContextId) -> &Context {
        assert_eq!(context, ContextId::MAIN, "the plan knows no other context");
        &self.context
    }

    /// Saves what was learned about the context's files. Losing it costs time only, so nothing fails for it.
    pub(crate) fn save_memory(&self, engine: &Engine) {
        if let Some(name) = &self.memory_name
            && let Ok(directory) = engine.store_dir(engine.store.context_rel_path())
        {
            drop(self.context.memory().save(&directory, name));
        }
    }
}

fn open_context_dir(path: &Path) -> Result<Dir, EngineError> {
    let metadata = std::fs::metadata(path).map_err(|source| EngineError::io("open the context", path, source))?;
    if !metadata.is_dir() {
        let message = format!("the context `{}` is not a directory", path.display());
        return Err(EngineError::request(
            message,
            Some("Give the directory with the files to build from, and the Dockerfile with `-f`."),
        ));
    }
    open_user_dir(path)
}

/// A stream is a Dockerfile unless it is an archive.
fn open_stream(engine: &Engine, lease: &Lease, stream: Box<dyn Read + Send>) -> Result<Opened, EngineError> {
    let work = lease.work_dir()?;
    let root = engine.store_dir(&work.diff_rel_path())?;
    let mut stream = stream;
    let mut head = Vec::new();
    stream
        .by_ref()
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(|source| EngineError::io("read the context from", "standard input", source))?;
    let is_archive = stave_tree::unpack::is_archive(&head);
    let mut whole = Cursor::new(head).chain(stream);
    if is_archive {
        confined::extract(engine, &root, &mut whole, "the context on standard input")?;
        return Ok(Opened { root, path: None, unpacked: Some(work), text: None });
    }
    let mut text = Vec::new();
    whole
        .take(TEXT_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|source| EngineError::io("read the Dockerfile from", "standard input", source))?;
    check_size("-", text.len())?;
    Ok(Opened { root, path: None, unpacked: Some(work), text: Some(text) })
}

/// Enough to tell an archive from a text.
const HEAD_BYTES: u64 = 1024;

fn check_size(name: &str, bytes: usize) -> Result<(), EngineError> {
    if bytes as u64 > TEXT_BYTES_MAX {
        let message = format!("`{name}` has more than {TEXT_BYTES_MAX} bytes, the most that a Dockerfile may have");
        return Err(EngineError::request(message, None));
    }
    Ok(())
}

/// Returns the name, the bytes, and where an ignore file of this Dockerfile's own would be.
fn read_dockerfile(
    opened: &mut Opened,
    source: DockerfileSource,
) -> Result<(String, Vec<u8>, Option<IgnoreBeside>), EngineError> {
    match source {
        DockerfileSource::Default => match opened.text.take() {
            Some(text) => Ok(("-".to_owned(), text, None)),
            None => read_default(opened),
        },
        DockerfileSource::Stream(stream) => {
            if opened.text.is_some() {
                return Err(EngineError::request("the context and the Dockerfile cannot both be standard input", None));
            }
            let mut text = Vec::new();
            stream
                .take(TEXT_BYTES_MAX + 1)
                .read_to_end(&mut text)
                .map_err(|source| EngineError::io("read the Dockerfile from", "standard input", source))?;
            check_size("-", text.len())?;
            Ok(("-".to_owned(), text, None))
        }
        DockerfileSource::Path(path) if opened.text.is_some() => {
            let message = format!("standard input is a Dockerfile, and `{}` another one", path.display());
            Err(EngineError::request(message, Some("Leave out `-f`, or give an archive on standard input.")))
        }
        DockerfileSource::Path(path) => {
            let name = path.display().to_string();
            if opened.path.is_some() {
                let file = std::fs::File::open(&path)
                    .map_err(|source| EngineError::io("read the Dockerfile", &path, source))?;
                let mut text = Vec::new();
                file.take(TEXT_BYTES_MAX + 1)
                    .read_to_end(&mut text)
                    .map_err(|source| EngineError::io("read the Dockerfile", &path, source))?;
                check_size(&name, text.len())?;
                Ok((name, text, Some(IgnoreBeside::Host(path))))
            } else {
                let inside = path.as_os_str().as_encoded_bytes().to_vec();
                let text = read_inside(&opened.root, &inside)?.ok_or_else(|| missing(&name))?;
                Ok((name, text, Some(IgnoreBeside::Inside(inside))))
            }
        }
    }
}

/// Where `<Dockerfile>.dockerignore` would be.
enum IgnoreBeside {
    Host(PathBuf),
    Inside(Vec<u8>),
}

fn missing(name: &str) -> EngineError {
    let message = format!("the context has no file `{name}`");
    EngineError::request(message, Some("Name the Dockerfile with `-f`, or give `-f -` to read it from standard input."))
}

fn read_default(opened: &Opened) -> Result<(String, Vec<u8>, Option<IgnoreBeside>), EngineError> {
    for name in ["Dockerfile", "dockerfile"] {
        if let Some(text) = read_inside(&opened.root, name.as_bytes())? {
            let shown = match &opened.path {
                Some(path) if path != Path::new(".") => path.join(name).display().to_string(),
                _ => name.to_owned(),
            };
            return Ok((shown, text, Some(IgnoreBeside::Inside(name.as_bytes().to_vec()))));
        }
    }
    Err(missing("Dockerfile"))
}

/// Returns a file of the context, or nothing if it is not there.
fn read_inside(root: &Dir, path: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
    match root.read_file(path, TEXT_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(inside(path, error)),
    }
}

fn inside(path: &[u8], error: PathError) -> EngineError {
    EngineError::tree(format!("cannot read `{}` of the context", String::from_utf8_lossy(path)), error)
}

/// Reads the Dockerfile's own ignore file, else the context's.
///
/// Reference: Docker's documentation of build contexts, "Filename and location".
fn read_ignore(opened: &Opened, beside: Option<IgnoreBeside>) -> Result<Option<Ignored>, EngineError> {
    let own = match beside {
        Some(IgnoreBeside::Host(path)) => {
            let mut path = path.into_os_string();
            path.push(".dockerignore");
            let path = PathBuf::from(path);
            match std::fs::read(&path) {
                Ok(bytes) => Some((path.display().to_string(), bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(source) => return Err(EngineError::io("read", path, source)),
            }
        }
        Some(IgnoreBeside::Inside(mut path)) => {
            path.extend_from_slice(b".dockerignore");
            let name = String::from_utf8_lossy(&path).into_owned();
            read_inside(&opened.root, &path)?.map(|bytes| (name, bytes))
        }
        None => None,
    };
    let found = match own {
        Some(own) => Some(own),
        None => read_inside(&opened.root, b".dockerignore")?.map(|bytes| (".dockerignore".to_owned(), bytes)),
    };
    let Some((name, bytes)) = found else { return Ok(None) };
    let rules = IgnoreFile::parse(&bytes)
        .map_err(|error| EngineError::request(format!("cannot use `{name}`: {error}"), None))?;
    Ok(Some(Ignored { name, rules }))
}

/// Loads what earlier builds learned about the files of this directory.
fn load_memory(engine: &Engine, path: Option<&Path>, now: Time) -> Result<(HashMemory, Option<Vec<u8>>), EngineError> {
    let Some(path) = path else { return Ok((HashMemory::empty(now), None)) };
    let whole = std::fs::canonicalize(path).map_err(|source| EngineError::io("find", path, source))?;
    let name = hex(&BlobDigest::of(whole.as_os_str().as_encoded_bytes()).as_bytes()[..16]).into_bytes();
    let directory = engine.store_dir(engine.store.context_rel_path())?;
    Ok((HashMemory::load(&directory, &name, now), Some(name)))
}
