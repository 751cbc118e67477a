//! Where the bytes of an output go: a stream of the caller, or a file that appears when it is complete.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use crate::error::EngineError;
use crate::request::Destination;

/// Where bytes go: a stream, or a file that appears under its name when it is complete.
pub(super) struct Sink {
    pub(super) out: BufWriter<Watched>,
    file: Option<(PathBuf, PathBuf)>,
}

impl Sink {
    /// Opens `dest`; a file is written beside its place.
    ///
    /// Errors: the file cannot be created.
    pub(super) fn open(dest: Destination) -> Result<Self, EngineError> {
        let path = match dest {
            Destination::Stream(stream) => return Ok(Self { out: BufWriter::new(Watched::new(stream)), file: None }),
            Destination::Path(path) => path,
        };
        let fail = |source| EngineError::io("write", &path, source);
        // Something that is no regular file, like `/dev/null` or a pipe, must be written to and not replaced.
        let special = std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        if special {
            let file = File::options().write(true).open(&path).map_err(fail)?;
            return Ok(Self { out: BufWriter::new(Watched::new(Box::new(file))), file: None });
        }
        let mut partial = path.clone().into_os_string();
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(fail)?;
        Ok(Self { out: BufWriter::new(Watched::new(Box::new(file))), file: Some((partial, path)) })
    }

    /// What went wrong with writing, as opposed to what went wrong with what was to be written.
    pub(super) fn failure(&mut self) -> Option<EngineError> {
        let source = self.out.get_mut().failure.take()?;
        Some(EngineError::io("write", self.name(), source))
    }

    /// Returns the place's name for messages.
    pub(super) fn name(&self) -> String {
        self.file.as_ref().map_or_else(|| "standard output".to_owned(), |(_, path)| path.display().to_string())
    }

    /// Ends the writing: from now on the file has its name.
    ///
    /// Errors: what is left cannot be written, or the file not renamed.
    pub(super) fn finish(mut self) -> Result<(), EngineError> {
        let name = PathBuf::from(self.name());
        self.out.flush().map_err(|source| self.failure().unwrap_or_else(|| EngineError::io("write", name, source)))?;
        if let Some((partial, path)) = self.file.take() {
            std::fs::rename(&partial, &path).map_err(|source| EngineError::io("write", path, source))?;
        }
        Ok(())
    }
}

/// A stream that remembers what its own failure was.
pub(super) struct Watched {
    inner: Box<dyn Write + Send>,
    failure: Option<io::Error>,
}

impl Watched {
    fn new(inner: Box<dyn Write + Send>) -> Self {
        Self { inner, failure: None }
    }

    fn watch<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let copy = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            if error.kind() != io::ErrorKind::Interrupted {
                self.failure = Some(error);
            }
            copy
        })
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.inner.write(bytes);
        self.watch(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.watch(result)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some((partial, _)) = &self.file {
            // The output failed; what is left of it is of no use to anybody.
            drop(std::fs::remove_file(partial));
        }
    }
}
