//! Why stave ends with another code than 0, and with which.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use stave_engine::sandbox::SandboxError;
use stave_engine::store::{BuildError, ContainerError, ImageError, VolumeError};
use stave_engine::{BuildFailure, EngineError, NearName, StepCause};

use crate::output::StdoutError;
use crate::render::{self, Style};
use crate::template::TemplateError;

/// A step failed, or nothing by that name exists.
pub(crate) const FAILED: u8 = 1;
/// The command line or the Dockerfile is wrong.
pub(crate) const USAGE: u8 = 2;
/// Registry, permissions, disk.
pub(crate) const ENVIRONMENT: u8 = 3;
/// A step would have to run, and `--fail-on-miss` was given.
pub(crate) const MISSED: u8 = 4;
/// A container's program is not there.
pub(crate) const NOT_FOUND: u8 = 127;
/// `run` could not start the container.
pub(crate) const NOT_STARTED: u8 = 125;
/// The reader of our output has gone: 128 and the number of SIGPIPE.
const PIPE_CLOSED: u8 = 141;

/// What to do about an image that is another one each time.
const NOT_REPRODUCIBLE: &str = "Look at what the named step writes there: times, random numbers, names of this machine. Delete \
                                it in the same step, or have the step not write it.";

/// What to do where standard output takes no more.
const OUTPUT_FULL: &str = "The file or the device that standard output goes to has no space left.";

/// What is printed on standard error, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    content: Content,
    hint: Option<String>,
    /// Whether a user or a group was needed that this process does not have.
    needs_ids: bool,
    space: Space,
}

/// Whether a file system was full.
#[derive(Debug)]
enum Space {
    /// None was, as far as one can tell.
    Enough,
    /// The store's, or whichever holds this file. What is no absolute path is a thing of the store.
    Lacking(Option<PathBuf>),
    /// Whatever standard output goes to was.
    Output,
}

#[derive(Debug)]
enum Content {
    /// Said already, or not worth a word.
    Silent,
    Message(String),
    Build(Box<BuildFailure>),
}

impl Failure {
    /// Ends with `code` without a word.
    pub(crate) fn silent(code: u8) -> Self {
        Self { code, content: Content::Silent, hint: None, needs_ids: false, space: Space::Enough }
    }

    /// A mistake in what was asked.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    /// Something that was named is not there, or not in the right state.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(FAILED, message)
    }

    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, content: Content::Message(message.into()), hint: None, needs_ids: false, space: Space::Enough }
    }

    /// Something around stave does not do what it should.
    pub(crate) fn environment(error: &(dyn Error + 'static)) -> Self {
        if is_closed_pipe(error) {
            return Self::silent(PIPE_CLOSED);
        }
        let space = match caused_by(error, is_full) {
            true if is_of_stdout(error) => Space::Output,
            true => Space::Lacking(None),
            false => Space::Enough,
        };
        Self { space, ..Self::new(ENVIRONMENT, render::chain(error)) }
    }

    /// A file that the caller named cannot be used: it is not there or no such file, which is a mistake in what was asked,
    /// or the machine does not let us.
    pub(crate) fn of_file(action: &str, path: &Path, error: &io::Error) -> Self {
        let failure = Self::environment(error).within(&format!("cannot {action} `{}`", path.display()));
        if is_absence(error.kind()) { failure.with_code(USAGE) } else { failure }
    }

    /// The user ended it by this signal.
    pub(crate) fn interrupted(signal: i32) -> Self {
        let code = u8::try_from(128 + signal).unwrap_or(130);
        Self::new(code, format!("interrupted by {}", stave_engine::signal_name(signal)))
    }

    /// Returns the same for a command whose code 1 is an answer: what is not there is a mistake in what was asked.
    pub(crate) fn not_an_answer(mut self) -> Self {
        if self.code == FAILED {
            self.code = USAGE;
        }
        self
    }

    /// Puts what was being done before the message.
    pub(crate) fn within(mut self, context: &str) -> Self {
        if let Content::Message(message) = &mut self.content {
            *message = format!("{context}: {message}");
        }
        self
    }

    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }

    /// Adds the advice if this failed for want of a user or group.
    pub(crate) fn with_ids_advice(mut self, advice: Option<&str>) -> Self {
        if self.needs_ids && self.hint.is_none() {
            self.hint = advice.map(str::to_owned);
        }
        self
    }

    /// Adds advice on the store's file system if that was full. `advice` makes it of the store's root.
    pub(crate) fn with_space_advice(mut self, root: &Path, advice: impl FnOnce(&Path) -> Option<String>) -> Self {
        let is_stores = match &self.space {
            Space::Enough => false,
            Space::Output => return self.with_hint(OUTPUT_FULL),
            Space::Lacking(file) => file.as_ref().is_none_or(|file| file.is_relative() || file.starts_with(root)),
        };
        if is_stores && self.hint.is_none() {
            self.hint = advice(root);
        }
        self
    }

    pub(crate) fn with_code(mut self, code: u8) -> Self {
        if self.code != PIPE_CLOSED {
            self.code = code;
        }
        self
    }

    /// Returns what is to be printed.
    pub(crate) fn render(&self, style: Style) -> String {
        match &self.content {
            Content::Silent => String::new(),
            Content::Message(message) => render::message(message, self.hint.as_deref(), style),
            Content::Build(failure) => {
                let advice = self.hint.as_deref().map(|advice| render::hint(advice, style));
                build_failure(failure, style) + &advice.unwrap_or_default()
            }
        }
    }
}

fn build_failure(failure: &BuildFailure, style: Style) -> String {
    match failure {
        BuildFailure::Dockerfile { name, text, diagnostics } => render::diagnostics(name, text, diagnostics, style),
        BuildFailure::Base(failure) => render::base_failure(failure, style),
        BuildFailure::Step(failure) => render::step_failure(failure, style),
        BuildFailure::Environment(error) => render::error(&**error, error.hint().as_deref(), style),
        BuildFailure::NotReproducible(comparison) => {
            let message = format!(
                "built twice, the image is not the same\n{}",
                crate::command::differences(comparison, ["the first build", "the second build"])
            );
            render::message(message.trim_end(), Some(NOT_REPRODUCIBLE), style)
        }
        BuildFailure::Interrupted => render::message("interrupted", None, style),
    }
}

/// Whether the error is that a user or a group does not exist in this user namespace.
fn lacks_id(error: &EngineError) -> bool {
    matches!(error, EngineError::Sandbox(SandboxError::UnmappedId { .. }))
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        if is_closed_pipe(&error) {
            return Self::silent(PIPE_CLOSED);
        }
        let code = code_of(&error);
        let content = Content::Message(render::chain(&error));
        Self { code, content, hint: error.hint(), needs_ids: lacks_id(&error), space: space(&error) }
    }
}

impl From<BuildFailure> for Failure {
    fn from(failure: BuildFailure) -> Self {
        let code = match &failure {
            BuildFailure::Dockerfile { .. } => USAGE,
            BuildFailure::Base(failure)
                if matches!(failure.near, Some(NearName::Stage(_) | NearName::LaterStage(_))) =>
            {
                USAGE
            }
            BuildFailure::Step(step) => match &step.cause {
                StepCause::Refused(error) if is_environment(error) => ENVIRONMENT,
                StepCause::Missed(_) => MISSED,
                _ => FAILED,
            },
            BuildFailure::Base(failure) => match code_of(&failure.error) {
                FAILED => ENVIRONMENT,
                code => code,
            },
            BuildFailure::Environment(error) if is_closed_pipe(error) => return Self::silent(PIPE_CLOSED),
            BuildFailure::Environment(error) => code_of(error),
            BuildFailure::NotReproducible(_) => FAILED,
            BuildFailure::Interrupted => 130,
        };
        let needs_ids = match &failure {
            BuildFailure::Step(step) => matches!(&step.cause, StepCause::Refused(error) if lacks_id(error)),
            BuildFailure::Environment(error) => lacks_id(error),
            _ => false,
        };
        let space = match &failure {
            BuildFailure::Step(step) => match &step.cause {
                StepCause::Refused(error) => space(error),
                // What the engine knows better is no matter of the store's.
                _ if step.clue.is_some() => Space::Enough,
                StepCause::Exit(_) | StepCause::Signal(_) if says_full(&step.last_lines) => Space::Lacking(None),
                StepCause::Exit(_) | StepCause::Signal(_) | StepCause::Missed(_) => Space::Enough,
            },
            BuildFailure::Base(failure) => space(&failure.error),
            BuildFailure::Environment(error) => space(error),
            BuildFailure::Dockerfile { .. } | BuildFailure::NotReproducible(_) | BuildFailure::Interrupted => {
                Space::Enough
            }
        };
        Self { code, content: Content::Build(Box::new(failure)), hint: None, needs_ids, space }
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        Self::usage(error.to_string())
    }
}

/// Returns the exit code for an error that is about no step. `docs/reference/README.md` has the table; what a base of a build
/// lacks is the registry's matter there, as one that cannot be reached.
fn code_of(error: &EngineError) -> u8 {
    match error {
        EngineError::CacheExport { source, .. } => code_of(source),
        EngineError::NoCommand(_) => FAILED,
        EngineError::Image(error) if !matches!(error, ImageError::Store(_) | ImageError::Config { .. }) => FAILED,
        EngineError::Container(error) if !matches!(error, ContainerError::Store(_)) => FAILED,
        EngineError::Build(error) if !matches!(error, BuildError::Store(_)) => FAILED,
        EngineError::Volume(error) if !matches!(error, VolumeError::Store(_)) => FAILED,
        EngineError::Request { .. } | EngineError::Platform { .. } => USAGE,
        EngineError::Io { source, .. } if is_absence(source.kind()) => USAGE,
        EngineError::Tree { source, .. } if caused_by(&**source, is_absence) => USAGE,
        EngineError::Interrupted => 130,
        error if error.is_answer() => FAILED,
        // Among them a daemon whose socket is not there: it does not run.
        _ => ENVIRONMENT,
    }
}

/// Returns the exit code of a container that could not be started, as Docker has it.
pub(crate) fn start_code(error: &EngineError) -> u8 {
    match error {
        EngineError::Sandbox(SandboxError::CommandNotFound { .. } | SandboxError::InterpreterNotFound { .. }) => {
            NOT_FOUND
        }
        EngineError::Sandbox(SandboxError::Exec { .. } | SandboxError::WorkDir { .. })
        | EngineError::NoEmulator { .. } => 126,
        EngineError::Interrupted => 130,
        _ => NOT_STARTED,
    }
}

/// Whether a step could not be carried out because of the machine, not because of what it says.
fn is_environment(error: &EngineError) -> bool {
    match error {
        EngineError::Sandbox(error) => !matches!(
            error,
            SandboxError::CommandNotFound { .. }
                | SandboxError::InterpreterNotFound { .. }
                | SandboxError::Exec { .. }
                | SandboxError::WorkDir { .. }
                | SandboxError::User { .. }
                | SandboxError::UserFile { .. }
                | SandboxError::UnmappedId { .. }
                | SandboxError::ZeroByte { .. }
                | SandboxError::NoCommand
                | SandboxError::MountPoint { .. }
                | SandboxError::MountSource { .. }
                | SandboxError::MountTarget { .. }
                | SandboxError::UnknownLimit { .. }
        ),
        EngineError::Tree { source, .. } => caused_by(&**source, is_machine),
        EngineError::Io { source, .. } => is_machine(source.kind()),
        EngineError::Request { .. } | EngineError::Platform { .. } | EngineError::NoCommand(_) => false,
        error if error.is_answer() => false,
        _ => true,
    }
}

fn is_absence(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory)
}

fn is_machine(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::ReadOnlyFilesystem
            | Kind::PermissionDenied
            | Kind::OutOfMemory
            | Kind::TooManyLinks
            | Kind::FileTooLarge
    )
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn space(error: &EngineError) -> Space {
    match error {
        error if !caused_by(error, is_full) => Space::Enough,
        error if is_of_stdout(error) => Space::Output,
        EngineError::Io { path, .. } if path.as_os_str() == "standard output" => Space::Output,
        EngineError::Io { path, .. } => Space::Lacking(Some(path.clone())),
        _ => Space::Lacking(None),
    }
}

/// A complaint this many lines from a command's end may be why it ended.
const LINES_CLOSE: usize = 10;

/// Whether a command's last words are those that the C library has for a full file system.
fn says_full(lines: &[String]) -> bool {
    let says = |line: &String, text: &str| line.to_ascii_lowercase().contains(text);
    lines
        .iter()
        .rev()
        .take(LINES_CLOSE)
        .any(|line| says(line, "no space left on device") || says(line, "disk quota exceeded"))
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    caused_by(error, |kind| kind == io::ErrorKind::BrokenPipe)
}

/// Whether an io error of such a kind is among the causes.
fn caused_by(error: &(dyn Error + 'static), is: impl Fn(io::ErrorKind) -> bool) -> bool {
    any_cause(error, |error| {
        let io_error = error.downcast_ref::<io::Error>();
        let kind = io_error
            .map(io::Error::kind)
            .or_else(|| error.downcast_ref::<rustix::io::Errno>().map(|errno| errno.kind()));
        kind.is_some_and(&is)
    })
}

/// Whether what could not be written is standard output.
fn is_of_stdout(error: &(dyn Error + 'static)) -> bool {
    any_cause(error, <dyn Error>::is::<StdoutError>)
}

fn any_cause(error: &(dyn Error + 'static), is: impl Fn(&(dyn Error + 'static)) -> bool) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if is(error) {
            return true;
        }
        // The source of an io error that wraps another error is what is behind that one.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io_error(kind: io::ErrorKind) -> EngineError {
        EngineError::Io { action: "open", path: "x".into(), source: kind.into() }
    }

    #[test]
    fn codes_tell_whose_mistake_it_is() {
        assert_eq!(Failure::from(io_error(io::ErrorKind::NotFound)).code, USAGE);
        assert_eq!(Failure::from(io_error(io::ErrorKind::StorageFull)).code, ENVIRONMENT);
        assert_eq!(Failure::from(EngineError::Image(ImageError::NotFound("x".to_owned()))).code, FAILED);
        assert_eq!(Failure::from(EngineError::Container(ContainerError::NotFound("x".to_owned()))).code, FAILED);
        assert_eq!(Failure::from(EngineError::Request { message: "x".to_owned(), hint: None }).code, USAGE);
        assert_eq!(Failure::interrupted(15).code, 143);
    }

    /// One cause has one code, whatever command meets it.
    #[test]
    fn a_file_that_was_named_has_one_code_for_each_cause() {
        for (kind, code) in [
            (io::ErrorKind::NotFound, USAGE),
            (io::ErrorKind::NotADirectory, USAGE),
            (io::ErrorKind::IsADirectory, USAGE),
            (io::ErrorKind::PermissionDenied, ENVIRONMENT),
            (io::ErrorKind::StorageFull, ENVIRONMENT),
            (io::ErrorKind::BrokenPipe, PIPE_CLOSED),
        ] {
            assert_eq!(Failure::of_file("open", Path::new("x"), &kind.into()).code, code, "{kind}");
            let error = if kind == io::ErrorKind::BrokenPipe { continue } else { io_error(kind) };
            assert_eq!(Failure::from(error).code, code, "{kind}");
        }
        let failure = Failure::of_file("open", Path::new("x"), &io::ErrorKind::NotFound.into());
        assert_eq!(failure.render(Style::PLAIN), "error: cannot open `x`: entity not found\n");
        let socket = EngineError::Daemon { socket: "/s".into(), source: io::ErrorKind::NotFound.into() };
        assert_eq!(Failure::from(socket).code, ENVIRONMENT);
        assert_eq!(Failure::from(EngineError::NoDaemon("x".to_owned())).code, ENVIRONMENT);
    }

    #[test]
    fn a_full_file_system_is_the_stores_unless_the_file_is_elsewhere() {
        let hint = |error: EngineError| {
            let advice = |root: &Path| Some(root.display().to_string());
            Failure::from(error).with_space_advice(Path::new("/store"), advice).hint
        };
        let full = |path: &str| EngineError::Io {
            action: "write",
            path: path.into(),
            source: io::ErrorKind::StorageFull.into(),
        };
        assert_eq!(hint(full("/store/layers/x")).as_deref(), Some("/store"));
        assert_eq!(hint(full("/elsewhere/x")), None);
        assert_eq!(hint(io_error(io::ErrorKind::PermissionDenied)), None);
        let copying =
            EngineError::Tree { context: "x".to_owned(), source: io::Error::from(io::ErrorKind::QuotaExceeded).into() };
        assert_eq!(hint(copying).as_deref(), Some("/store"));
        let wrapped = io::Error::other(full("/store/x"));
        let packing = EngineError::Tree { context: "x".to_owned(), source: wrapped.into() };
        assert_eq!(hint(packing).as_deref(), Some("/store"));
        assert!(says_full(&["write failed, filesystem is full".into(), "dd: error: No space left on device".into()]));
        assert!(!says_full(&["no space".into()]));
    }

    #[test]
    fn a_reader_that_has_gone_is_not_worth_a_word() {
        let failure = Failure::from(io_error(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.code, failure.render(Style::PLAIN)), (PIPE_CLOSED, String::new()));
    }

    #[test]
    fn a_container_that_cannot_start_has_dockers_codes() {
        let missing = SandboxError::CommandNotFound { program: "x".to_owned() };
        assert_eq!(start_code(&EngineError::Sandbox(missing)), 127);
        assert_eq!(start_code(&EngineError::NoCommand("x".to_owned())), NOT_STARTED);
    }
}
