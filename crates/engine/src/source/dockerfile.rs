//! The text of the Dockerfile: of one file or of several, as they are or as the C preprocessor makes them.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use stave_dockerfile::FILE_BYTES_MAX;
use stave_dockerfile::suggest::nearest;
use stave_tree::Dir;

use super::ignore::IgnoreBeside;
use super::{Fetching, Opened, inside, several};
use crate::error::EngineError;
use crate::event::Event;
use crate::preprocess::{self, Preprocessor};
use crate::remote::shown;
use crate::request::{DockerfileSource, FileReading};

/// The names of a Dockerfile that is not named, those that come first first: the last one is Buildah's.
const NAMES: [&str; 3] = ["Dockerfile", "dockerfile", "Containerfile"];

/// Returns the bytes of a Dockerfile, as far as they suffice for the parser to see that there are too many.
pub(super) fn read_text(from: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// A Dockerfile that was read.
pub(super) struct TextFile {
    /// What the user calls it.
    pub(super) name: String,
    pub(super) text: String,
    /// Where an ignore file of its own would be; of several joined files, of the first.
    pub(super) beside: Option<IgnoreBeside>,
}

/// Returns the Dockerfile. Of several it is the last one, or all of them joined where that one alone says nothing.
pub(super) fn read(
    opened: &mut Opened,
    source: DockerfileSource,
    (reading, target): (&FileReading, Option<&str>),
    fetching: Fetching<'_>,
) -> Result<TextFile, EngineError> {
    let sources = if let DockerfileSource::Several(sources) = source { sources } else { vec![source] };
    let note = |message| (fetching.events)(Event::Notice { message });
    let mut files: Vec<Result<TextFile, EngineError>> = Vec::new();
    for source in sources {
        files.push(read_file(opened, source, reading, fetching));
    }
    let last = files.pop().unwrap_or_else(|| Err(missing("Dockerfile")))?;
    let is_preprocessed =
        |file: &Result<TextFile, EngineError>| file.as_ref().is_ok_and(|file| preprocess::is_meant(&file.name));
    let any_is = preprocess::is_meant(&last.name) || files.iter().any(is_preprocessed);
    if !any_is && !reading.preprocessor_flags.is_empty() {
        note("`--cpp-flag` changes nothing, for no Dockerfile has a name that ends in `.in`".to_owned());
    }
    if files.is_empty() {
        return Ok(last);
    }
    let earlier: Vec<&str> = files.iter().flatten().map(|file| file.text.as_str()).collect();
    let Some(why) = several::why_joined(&earlier, &last.text, target) else {
        // What cannot be read may have the stage that would else be taken for an image.
        if let Some(unread) = files.into_iter().find_map(Result::err)
            && several::may_need_others(&last.text, target)
        {
            return Err(unread);
        }
        note(format!(
            "of several `-f` the last is built, as Docker does: `{}`, which needs none of the others",
            last.name
        ));
        return Ok(last);
    };
    note(format!("several `-f` are joined, as Buildah does: of `{}`, the last, {why}", last.name));
    files.push(Ok(last));
    let mut files = files.into_iter();
    let first = files.next().unwrap_or_else(|| Err(missing("Dockerfile")))?;
    let others = files.map(|file| file.map(|file| (file.name, file.text))).collect::<Result<Vec<_>, EngineError>>()?;
    let (name, text) = several::joined((first.name, first.text), others)?;
    Ok(TextFile { name, text, beside: first.beside })
}

/// Reads one file, and has it preprocessed if its name says so.
fn read_file(
    opened: &mut Opened,
    source: DockerfileSource,
    reading: &FileReading,
    fetching: Fetching<'_>,
) -> Result<TextFile, EngineError> {
    let (name, mut bytes, beside) = read_one(opened, source, fetching)?;
    if preprocess::is_meant(&name) {
        let context = root_of(opened);
        let preprocessor = Preprocessor {
            engine: fetching.engine,
            lease: fetching.lease,
            flags: &reading.preprocessor_flags,
            context: &context,
        };
        bytes = preprocessor.run(&name, bytes, &|message| (fetching.events)(Event::Notice { message }))?;
    }
    Ok(TextFile { name, text: text_of(bytes), beside })
}

/// The directory that is the root of the context.
fn root_of(opened: &Opened) -> PathBuf {
    match (&opened.path, &opened.unpacked) {
        (Some(path), _) => path.clone(),
        (None, Some(work)) => work.path().join("diff"),
        (None, None) => PathBuf::from("/"),
    }
}

/// Returns the name, the bytes, and where an ignore file of this Dockerfile's own would be.
fn read_one(
    opened: &mut Opened,
    source: DockerfileSource,
    fetching: Fetching<'_>,
) -> Result<(String, Vec<u8>, Option<IgnoreBeside>), EngineError> {
    match source {
        DockerfileSource::Several(_) => Err(missing("Dockerfile")),
        DockerfileSource::Default => match opened.text.take() {
            Some((name, text)) => Ok((name, text, None)),
            None => read_default(opened),
        },
        DockerfileSource::Stream(stream) => {
            if let Some((name, _)) = &opened.text {
                return Err(two_files(name, "standard input"));
            }
            read_stream(stream, "-", "standard input")
        }
        DockerfileSource::Url(url) => {
            let shown = shown(&url);
            if let Some((name, _)) = &opened.text {
                return Err(two_files(name, &shown));
            }
            read_stream(fetching.file(&url)?.0, &shown, &shown)
        }
        DockerfileSource::Path(path) if opened.text.is_some() => {
            let name = opened.text.as_ref().map_or("-", |(name, _)| name);
            Err(two_files(name, &path.display().to_string()))
        }
        DockerfileSource::Path(path) => {
            let name = path.display().to_string();
            if opened.path.is_some() {
                let file = std::fs::File::open(&path)
                    .map_err(|source| EngineError::io("read the Dockerfile", &path, source))?;
                let text = read_text(file).map_err(|source| EngineError::io("read the Dockerfile", &path, source))?;
                Ok((name, text, Some(IgnoreBeside::Host(path))))
            } else {
                let inside = path.as_os_str().as_encoded_bytes().to_vec();
                let text = read_text_inside(&opened.root, &inside)?.ok_or_else(|| missing(&name))?;
                Ok((name, text, Some(IgnoreBeside::Inside(inside))))
            }
        }
    }
}

/// The context was a Dockerfile, and another one is given.
fn two_files(context: &str, other: &str) -> EngineError {
    if context == "-" && other == "standard input" {
        return EngineError::request("the context and the Dockerfile cannot both be standard input", None);
    }
    let (context, shown) =
        if context == "-" { ("standard input", "standard input") } else { (context, "that address") };
    let message = format!("{context} is a Dockerfile, and `{other}` another one");
    EngineError::request(message, Some(&format!("Leave out `-f`, or give an archive on {shown}.")))
}

/// Reads a Dockerfile that is no file of the context; there is no ignore file beside it.
fn read_stream(
    stream: Box<dyn Read + Send>,
    name: &str,
    from: &str,
) -> Result<(String, Vec<u8>, Option<IgnoreBeside>), EngineError> {
    let text = read_text(stream).map_err(|source| EngineError::io("read the Dockerfile from", from, source))?;
    Ok((name.to_owned(), text, None))
}

/// Returns the text of a Dockerfile. A byte that is no UTF-8 is read as U+FFFD, as in BuildKit; the parser warns of it.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let mut text = String::new();
        for chunk in error.as_bytes().utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        text
    })
}

fn missing(name: &str) -> EngineError {
    let message = format!("the context has no file `{name}`");
    EngineError::request(message, Some("Name the Dockerfile with `-f`, or give `-f -` to read it from standard input."))
}

fn read_default(opened: &Opened) -> Result<(String, Vec<u8>, Option<IgnoreBeside>), EngineError> {
    for name in NAMES {
        if let Some(text) = read_text_inside(&opened.root, name.as_bytes())? {
            let shown = match &opened.path {
                Some(path) if path != Path::new(".") => path.join(name).display().to_string(),
                _ => name.to_owned(),
            };
            return Ok((shown, text, Some(IgnoreBeside::Inside(name.as_bytes().to_vec()))));
        }
    }
    Err(missing_default(opened))
}

/// Says what there is instead of a Dockerfile: a link that leads to nothing, or a file of nearly that name.
fn missing_default(opened: &Opened) -> EngineError {
    for name in NAMES {
        let Ok(target) = opened.root.read_link(name.as_bytes()) else { continue };
        let target = String::from_utf8_lossy(&target).into_owned();
        let message = format!("`{name}` of the context is a link to `{target}`, which the context does not have");
        let hint = "Links lead nowhere out of the context; `-f` takes a Dockerfile from anywhere.";
        return EngineError::request(message, Some(hint));
    }
    let entries = opened.root.list(b"").unwrap_or_default();
    let mut names: Vec<String> =
        entries.iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect();
    names.sort_unstable();
    let same = names.iter().find(|name| NAMES.iter().any(|known| known.eq_ignore_ascii_case(name)));
    let near = same.map(String::as_str).or_else(|| nearest("Dockerfile", names.iter().map(String::as_str)));
    let Some(near) = near else { return missing("Dockerfile") };
    let shown = match &opened.path {
        Some(path) if path != Path::new(".") => path.join(near).display().to_string(),
        _ => near.to_owned(),
    };
    let hint = format!("It has `{near}`: if that is one, name it with `-f {shown}`.");
    EngineError::request("the context has no file `Dockerfile`", Some(&hint))
}

/// Returns the bytes of a Dockerfile in the context, or nothing if it is not there.
fn read_text_inside(root: &Dir, path: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
    match root.open_file(path) {
        Ok(file) => read_text(file)
            .map(Some)
            .map_err(|source| EngineError::io("read the Dockerfile", &*String::from_utf8_lossy(path), source)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(inside(path, error)),
    }
}
