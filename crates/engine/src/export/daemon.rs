//! An image goes into a running daemon of Docker or Podman, which is sent only what it lacks.
//!
//! The daemon is asked for the image by its id: if it is there, it is only named. Else the archive is sent without layers
//! that the daemon has: Docker with its own storage finds those that lie on the same layers in another image, Podman those
//! whose tar is in any image. Docker with containerd's storage wants every layer, and gets it; so does a daemon that does not
//! take an archive without some.
//!
//! Reference: Docker Engine API 1.24, "Image Inspect", "List Images", "Import images" and "Tag an image".

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use stave_oci::{DiffId, Reference};

use super::prepared::{Prepared, PreparedBuild, unwritable};
use crate::archive::ArchiveWriter;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::form::{ImageForm, LayerMethod};
use crate::forms::LayerBlob;
use crate::inspect::familiar;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest line of a head or of a chunk, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Images that are asked for their layers, the latest first.
const IMAGES_ASKED_MAX: usize = 50;
/// How long a daemon may say nothing. It unpacks large layers meanwhile.
const SILENCE_MAX: Duration = Duration::from_mins(10);

/// Returns the form in which the daemon that listens on `socket` gets an image, where `form` leaves it open: Podman finds a
/// layer that it has by the digest of its tar, so that is what it gets of all layers.
///
/// Errors: the daemon cannot be reached.
pub(super) fn wanted(form: ImageForm, socket: &Path) -> Result<ImageForm, EngineError> {
    let daemon = Daemon { socket: socket.to_owned() };
    let force = form.force || form.layers == LayerMethod::Plain && daemon.is_podman()?;
    Ok(ImageForm { force, ..form })
}

/// Has the daemon that listens on `socket` have the image under `names`.
///
/// Errors: the daemon cannot be reached, or does not take the image.
pub(super) fn load(
    engine: &Engine,
    prepared: &PreparedBuild,
    names: &[Reference],
    socket: &Path,
) -> Result<(), EngineError> {
    let daemon = Daemon { socket: socket.to_owned() };
    let image = &prepared.images[0];
    let id = image.config_descriptor.digest.to_string();
    let known = daemon.image(&id)?;
    if known.is_none() {
        let lean = match daemon.kind()? {
            Kind::Docker => daemon.layers_below(engine, image)?,
            Kind::Podman => daemon.layers_anywhere(engine, image)?,
            Kind::Containerd => BTreeSet::new(),
        };
        match daemon.send(engine, prepared, (image, &lean), names) {
            // What it had a moment ago may be gone.
            Err(_) if !lean.is_empty() => {
                engine.go_on()?;
                daemon.send(engine, prepared, (image, &BTreeSet::new()), names)?;
            }
            sent => sent?,
        }
    }
    let has: BTreeSet<String> = known.iter().flat_map(tags).collect();
    for name in names.iter().filter(|_| known.is_some()).filter(|name| !has.contains(&familiar(name))) {
        let (repository, tag) = (name.familiar_name(), name.effective_tag().unwrap_or("latest"));
        let path = format!("/images/{id}/tag?repo={}&tag={tag}", escaped(&repository));
        daemon.ask("POST", &path, &[200, 201])?;
    }
    Ok(())
}

/// Returns the archive of an image of the daemon that listens on `socket`, as it comes.
///
/// Errors: the daemon cannot be reached, or does not have the image.
pub(crate) fn fetch(socket: &Path, image: &str) -> Result<impl Read + Send + use<>, EngineError> {
    let daemon = Daemon { socket: socket.to_owned() };
    let stream = daemon.connect()?;
    let path = format!("/images/{}/get", escaped(image));
    let request = format!("GET {path} HTTP/1.1\r\nHost: daemon\r\nConnection: close\r\n\r\n");
    (&stream).write_all(request.as_bytes()).map_err(|source| daemon.failed(source))?;
    let (status, body) = open_answer(stream).map_err(|source| daemon.failed(source))?;
    if status == 200 {
        return Ok(body);
    }
    let mut answer = Vec::new();
    body.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(|source| daemon.failed(source))?;
    Err(daemon.refused(status, &answer))
}

/// Returns the names of an image, as the daemon writes them.
fn tags(image: &Value) -> Vec<String> {
    let tags = image["RepoTags"].as_array().map(Vec::as_slice).unwrap_or_default();
    // Podman writes them whole.
    let familiar = |tag: &str| {
        let short = tag.strip_prefix("docker.io/library/").or_else(|| tag.strip_prefix("docker.io/"));
        short.unwrap_or(tag).to_owned()
    };
    tags.iter().filter_map(Value::as_str).map(familiar).collect()
}

struct Daemon {
    socket: PathBuf,
}

/// How a daemon keeps layers.
enum Kind {
    /// By what they lie on.
    Docker,
    /// By their tars.
    Podman,
    /// By blobs, of which it wants all.
    Containerd,
}

impl Daemon {
    fn failed(&self, source: io::Error) -> EngineError {
        EngineError::Daemon { socket: self.socket.clone(), source }
    }

    fn connect(&self) -> Result<UnixStream, EngineError> {
        let connected = UnixStream::connect(&self.socket).and_then(|stream| {
            stream.set_read_timeout(Some(SILENCE_MAX))?;
            stream.set_write_timeout(Some(SILENCE_MAX))?;
            Ok(stream)
        });
        connected.map_err(|source| self.failed(source))
    }

    /// Asks for an image. Returns nothing if the daemon does not have it.
    fn image(&self, id: &str) -> Result<Option<Value>, EngineError> {
        let (status, answer) = self.request("GET", &format!("/images/{id}/json"))?;
        match status {
            200 => self.json(&answer).map(Some),
            404 => Ok(None),
            _ => Err(self.refused(status, &answer)),
        }
    }

    /// Returns by what the daemon finds the layers that it has.
    fn kind(&self) -> Result<Kind, EngineError> {
        if self.is_podman()? {
            return Ok(Kind::Podman);
        }
        let info = self.ask("GET", "/info", &[200])?;
        let is_containerd = info["DriverStatus"].to_string().contains("io.containerd.snapshotter");
        Ok(if is_containerd { Kind::Containerd } else { Kind::Docker })
    }

    fn is_podman(&self) -> Result<bool, EngineError> {
        let version = self.ask("GET", "/version", &[200])?;
        let parts = version["Components"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(parts.iter().any(|part| part["Name"].as_str().is_some_and(|name| name.contains("Podman"))))
    }

    /// Returns the tars of the layers of each image that the daemon has, the lowest first; of the latest images.
    fn images(&self, engine: &Engine) -> Result<Vec<Vec<DiffId>>, EngineError> {
        let list = self.ask("GET", "/images/json?all=1", &[200])?;
        let mut images = Vec::new();
        for listed in list.as_array().into_iter().flatten().take(IMAGES_ASKED_MAX) {
            engine.go_on()?;
            let Some(id) = listed["Id"].as_str() else { continue };
            let Some(there) = self.image(id)? else { continue };
            let layers = there["RootFS"]["Layers"].as_array().map(Vec::as_slice).unwrap_or_default();
            images.push(layers.iter().map_while(|layer| layer.as_str()?.parse().ok()).collect());
        }
        Ok(images)
    }

    /// Returns the places of the image's layers, from the lowest, that are the lowest of an image that the daemon has.
    fn layers_below(&self, engine: &Engine, image: &Prepared) -> Result<BTreeSet<usize>, EngineError> {
        let wanted: Vec<DiffId> = image.layers.iter().map(|layer| layer.diff_id).collect();
        let same =
            |there: &Vec<DiffId>| there.iter().zip(&wanted).take_while(|(layer, wanted)| layer == wanted).count();
        Ok((0..self.images(engine)?.iter().map(same).max().unwrap_or_default()).collect())
    }

    /// Returns the places of the image's layers whose tars, which it has uncompressed, are in any image of the daemon.
    fn layers_anywhere(&self, engine: &Engine, image: &Prepared) -> Result<BTreeSet<usize>, EngineError> {
        let there: BTreeSet<DiffId> = self.images(engine)?.into_iter().flatten().collect();
        let is_tar = |layer: &LayerBlob| layer.descriptor.digest.as_bytes() == layer.diff_id.as_bytes();
        let layers = image.layers.iter().enumerate();
        let known = layers.filter(|(_, layer)| is_tar(layer) && there.contains(&layer.diff_id));
        Ok(known.map(|(place, _)| place).collect())
    }

    /// Sends the archive of an image, of which the daemon has the layers at the places `known`.
    fn send(
        &self,
        engine: &Engine,
        prepared: &PreparedBuild,
        (image, known): (&Prepared, &BTreeSet<usize>),
        names: &[Reference],
    ) -> Result<(), EngineError> {
        let stream = self.connect()?;
        let mut head = BufWriter::new(&stream);
        let request = "POST /images/load?quiet=1 HTTP/1.1\r\nHost: daemon\r\nContent-Type: application/x-tar\r\n\
                       Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        let written = head.write_all(request.as_bytes()).and_then(|()| head.flush());
        written.map_err(|source| self.failed(source))?;
        drop(head);
        let sent = (|| {
            let out = BufWriter::with_capacity(256 * 1024, Chunks(&stream));
            let mut writer = ArchiveWriter::new(out).map_err(unwritable)?;
            let archived = image.write_without(engine, &mut writer, (names, known))?;
            let out = writer.finish_with(prepared.entries(names), &[archived]).map_err(unwritable)?;
            let chunks = out.into_inner().map_err(|error| unwritable(error.into_error()))?;
            chunks.end().map_err(unwritable)
        })();
        // A daemon that stops reading says why in its answer.
        let (status, answer) = match read_answer(&stream) {
            Ok(answer) => answer,
            Err(error) => return sent.and(Err(self.failed(error))),
        };
        if status != 200 {
            return Err(self.refused(status, &answer));
        }
        sent?;
        // What goes wrong after the answer has begun is one of its lines.
        for line in answer.split(|&byte| byte == b'\n') {
            if let Ok(line) = serde_json::from_slice::<Value>(line)
                && let Some(error) = line["error"].as_str()
            {
                return Err(EngineError::request(format!("the daemon cannot load the image: {error}"), None));
            }
        }
        Ok(())
    }

    fn ask(&self, method: &str, path: &str, expected: &[u16]) -> Result<Value, EngineError> {
        let (status, answer) = self.request(method, path)?;
        if !expected.contains(&status) {
            return Err(self.refused(status, &answer));
        }
        // Podman ends an empty answer with a line.
        if answer.trim_ascii().is_empty() { Ok(Value::Null) } else { self.json(&answer) }
    }

    fn json(&self, answer: &[u8]) -> Result<Value, EngineError> {
        serde_json::from_slice(answer).map_err(|source| self.failed(source.into()))
    }

    fn refused(&self, status: u16, answer: &[u8]) -> EngineError {
        let said = serde_json::from_slice::<Value>(answer).ok();
        let said = said.as_ref().and_then(|answer| answer["message"].as_str()).unwrap_or("it does not say why");
        let message = format!("the daemon at `{}` answers with {status}: {said}", self.socket.display());
        EngineError::request(
            message,
            Some("See the daemon's log; an archive is written with `-o type=docker,dest=FILE`."),
        )
    }

    fn request(&self, method: &str, path: &str) -> Result<(u16, Vec<u8>), EngineError> {
        let stream = self.connect()?;
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: daemon\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        (&stream).write_all(request.as_bytes()).map_err(|source| self.failed(source))?;
        read_answer(&stream).map_err(|source| self.failed(source))
    }
}

/// Writes each buffer as one chunk of an HTTP body.
struct Chunks<'a>(&'a UnixStream);

impl Chunks<'_> {
    fn end(mut self) -> io::Result<()> {
        self.0.write_all(b"0\r\n\r\n")
    }
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.0.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        self.0.write_all(bytes)?;
        self.0.write_all(b"\r\n")?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Reads a status and a body.
fn read_answer(stream: impl Read) -> io::Result<(u16, Vec<u8>)> {
    let (status, body) = open_answer(stream)?;
    let mut bytes = Vec::new();
    body.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok((status, bytes))
}

/// Reads a status and what is before the body.
fn open_answer<R: Read>(stream: R) -> io::Result<(u16, Body<R>)> {
    let mut input = BufReader::new(stream);
    let line = read_line(&mut input)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)?;
    let mut end = End::Stream;
    loop {
        let line = read_line(&mut input)?;
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(':') {
            None if line.is_empty() => return Err(malformed()),
            None => return Ok((status, Body { input, end })),
            Some(("transfer-encoding", value)) if value.trim() == "chunked" => {
                end = End::Chunk { left: 0, first: true }
            }
            Some(("content-length", value)) if !matches!(end, End::Chunk { .. }) => {
                end = End::Length(value.trim().parse().map_err(|_| malformed())?);
            }
            Some(_) => {}
        }
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its answer is no HTTP")
}

/// Reads a line, which is as short as those of headers and chunks are.
fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.take(LINE_BYTES_MAX).read_line(&mut line)?;
    Ok(line)
}

/// A body as it comes.
struct Body<R> {
    input: BufReader<R>,
    end: End,
}

/// What ends a body.
enum End {
    /// The stream's end.
    Stream,
    /// So many more bytes.
    Length(u64),
    /// A chunk without bytes; of the present one, so many are left.
    Chunk { left: u64, first: bool },
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let End::Chunk { left: left @ 0, first } = &mut self.end {
            if !std::mem::take(first) {
                // The line of a chunk ends with its bytes.
                read_line(&mut self.input)?;
            }
            let line = read_line(&mut self.input)?;
            let size = line.trim().split(';').next().unwrap_or_default();
            *left = u64::from_str_radix(size, 16).map_err(|_| malformed())?;
            if *left == 0 {
                self.end = End::Length(0);
            }
        }
        let left = match &mut self.end {
            End::Stream => return self.input.read(buffer),
            End::Length(left) | End::Chunk { left, .. } => left,
        };
        let room = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.input.read(&mut buffer[..room])?;
        if count == 0 && room > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its answer ends too early"));
        }
        *left -= count as u64;
        Ok(count)
    }
}

/// Returns a text as a part of a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_with_their_length_their_chunks_or_the_stream() {
        let read = |text: &str| read_answer(text.as_bytes()).map(|(status, body)| (status, String::from_utf8(body)));
        let body = |text: &str| Ok(text.to_owned());
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc").expect("it is HTTP"), (200, body("ab")));
        let chunked = "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n";
        assert_eq!(read(chunked).expect("it is HTTP"), (404, body("abcde")));
        assert_eq!(read("HTTP/1.0 200 OK\r\n\r\nrest").expect("it is HTTP"), (200, body("rest")));
        for wrong in ["", "HTTP/1.1 x\r\n\r\n", "HTTP/1.1 200 OK\r\n", &chunked[..chunked.len() - 12]] {
            assert!(read_answer(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_escaped_in_a_query() {
        assert_eq!(escaped("127.0.0.1:5000/a_b-c"), "127.0.0.1%3A5000%2Fa_b-c");
    }
}
