//! The text of the Dockerfile: of one file or of several, as they are or as the C preprocessor makes them.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use stave_dockerfile::{FILE_BYTES_MAX, Parse, codes, parse};
use stave_tree::Dir;

use super::ignore::IgnoreBeside;
use super::{Fetching, Opened, inside};
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

/// Returns the name, the text, and where an ignore file of this Dockerfile's own would be; of several files, of the first.
pub(super) fn read(
    opened: &mut Opened,
    source: DockerfileSource,
    reading: &FileReading,
    fetching: Fetching<'_>,
) -> Result<(String, String, Option<IgnoreBeside>), EngineError> {
    let sources = if let DockerfileSource::Several(sources) = source { sources } else { vec![source] };
    let note = |message| (fetching.events)(Event::Notice { message });
    let (mut texts, mut beside) = (Vec::new(), None);
    let mut is_preprocessed = false;
    for source in sources {
        let (name, mut bytes, its) = read_one(opened, source, fetching)?;
        if preprocess::is_meant(&name) {
            let context = root_of(opened);
            let preprocessor = Preprocessor {
                engine: fetching.engine,
                lease: fetching.lease,
                flags: &reading.preprocessor_flags,
                context: &context,
            };
            bytes = preprocessor.run(&name, bytes, &note)?;
            is_preprocessed = true;
        }
        if texts.is_empty() {
            beside = its;
        }
        texts.push((name, text_of(bytes)));
    }
    if !is_preprocessed && !reading.preprocessor_flags.is_empty() {
        note("`--cpp-flag` changes nothing, for no Dockerfile has a name that ends in `.in`".to_owned());
    }
    let (name, text) = joined(texts)?;
    Ok((name, text, beside))
}

/// The directory that is the root of the context.
fn root_of(opened: &Opened) -> PathBuf {
    match (&opened.path, &opened.unpacked) {
        (Some(path), _) => path.clone(),
        (None, Some(work)) => work.path().join("diff"),
        (None, None) => PathBuf::from("/"),
    }
}

/// Makes one text of several, in which the instructions of each follow those of the one before.
///
/// Reference: buildah-build(1), `--file`.
fn joined(texts: Vec<(String, String)>) -> Result<(String, String), EngineError> {
    let mut texts = texts.into_iter();
    let Some((mut name, mut whole)) = texts.next() else { return Err(missing("Dockerfile")) };
    let first = parse(&whole);
    let mut is_open = has_open_heredoc(&first);
    for (next_name, next) in texts {
        if is_open {
            let message = format!("a heredoc of `{name}` does not end, so `{next_name}` cannot follow it");
            return Err(EngineError::request(message, None));
        }
        let next = next.strip_prefix('\u{feff}').unwrap_or(&next);
        let parsed = parse(next);
        if parsed.file.escape != first.file.escape {
            let message = format!("`{name}` and `{next_name}` have different escape characters");
            return Err(EngineError::request(message, Some("Give both the same directive `# escape=`.")));
        }
        is_open = has_open_heredoc(&parsed);
        end_continuation(&mut whole, first.file.escape);
        whole.push('\n');
        whole.push_str(next);
        name = format!("{name} + {next_name}");
    }
    Ok((name, whole))
}

fn has_open_heredoc(parsed: &Parse) -> bool {
    parsed.diagnostics.iter().any(|diagnostic| diagnostic.code == codes::UNTERMINATED_HEREDOC)
}

/// Takes away an escape character at the end of a file, where there is no next line that it could join.
fn end_continuation(text: &mut String, escape: char) {
    text.truncate(text.trim_end().len());
    let escapes = text.len() - text.trim_end_matches(escape).len();
    if escapes == escape.len_utf8() {
        text.truncate(text.len() - escapes);
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
    Err(missing("Dockerfile"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn join(texts: &[&str]) -> Result<String, String> {
        let texts = texts.iter().zip('a'..).map(|(text, name)| (name.to_string(), (*text).to_owned())).collect();
        joined(texts).map(|(_, text)| text).map_err(|error| error.to_string())
    }

    /// A201
    #[test]
    fn the_instructions_of_several_files_follow_each_other() {
        assert_eq!(join(&["FROM a\n"]), Ok("FROM a\n".to_owned()));
        assert_eq!(
            join(&["FROM a", "\u{feff}COPY a b", "COPY c d\n\n"]),
            Ok("FROM a\nCOPY a b\nCOPY c d\n\n".to_owned())
        );
        // Nothing continues over the end of a file.
        assert_eq!(join(&["FROM a\nRUN a \\\n", "RUN b"]), Ok("FROM a\nRUN a \nRUN b".to_owned()));
        assert_eq!(join(&["FROM a\nRUN a \\\\\n", "RUN b"]), Ok("FROM a\nRUN a \\\\\nRUN b".to_owned()));
        let backtick = "# escape=`\nFROM a\n";
        assert_eq!(join(&[backtick, "# escape=`\nRUN b"]), Ok("# escape=`\nFROM a\n# escape=`\nRUN b".to_owned()));
    }

    /// A201
    #[test]
    fn what_cannot_be_one_file_is_refused() {
        let error = join(&["# escape=`\nFROM a\n", "RUN b"]).expect_err("one text has one escape character");
        assert_eq!(error, "`a` and `b` have different escape characters");
        let error = join(&["FROM a\nRUN <<EOF\ntext\n", "RUN b"]).expect_err("the heredoc is open");
        assert_eq!(error, "a heredoc of `a` does not end, so `b` cannot follow it");
    }
}
