//! Why stave ends with another code than 0, and with which.

use std::error::Error;
use std::io;

use stave_engine::sandbox::SandboxError;
use stave_engine::store::{ContainerError, ImageError};
use stave_engine::{BuildFailure, EngineError, StepCause};

use crate::render::{self, Style};
use crate::template::TemplateError;

/// A step failed, or nothing by that name exists.
pub(crate) const FAILED: u8 = 1;
/// The command line or the Dockerfile is wrong.
pub(crate) const USAGE: u8 = 2;
/// Registry, permissions, disk.
pub(crate) const ENVIRONMENT: u8 = 3;
/// `run` could not start the container.
pub(crate) const NOT_STARTED: u8 = 125;
/// The reader of our output has gone: 128 and the number of SIGPIPE.
const PIPE_CLOSED: u8 = 141;

/// What is printed on standard error, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    content: Content,
    hint: Option<String>,
    /// Whether a user or a group was needed that this process does not have.
    needs_ids: bool,
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
        Self { code, content: Content::Silent, hint: None, needs_ids: false }
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
        Self { code, content: Content::Message(message.into()), hint: None, needs_ids: false }
    }

    /// Something around stave does not do what it should.
    pub(crate) fn environment(error: &(dyn Error + 'static)) -> Self {
        if is_closed_pipe(error) {
            return Self::silent(PIPE_CLOSED);
        }
        Self::new(ENVIRONMENT, render::chain(error))
    }

    /// The user ended it by this signal.
    pub(crate) fn interrupted(signal: i32) -> Self {
        let code = u8::try_from(128 + signal).unwrap_or(130);
        Self::new(code, format!("interrupted by {}", render::signal_name(signal)))
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
        Self { code, content, hint: error.hint(), needs_ids: lacks_id(&error) }
    }
}

impl From<BuildFailure> for Failure {
    fn from(failure: BuildFailure) -> Self {
        let code = match &failure {
            BuildFailure::Dockerfile { .. } => USAGE,
            BuildFailure::Base(failure) if failure.hint.is_some() => USAGE,
            BuildFailure::Step(step) => match &step.cause {
                StepCause::Refused(error) if is_environment(error) => ENVIRONMENT,
                _ => FAILED,
            },
            BuildFailure::Base(failure) => match code_of(&failure.error) {
                FAILED => ENVIRONMENT,
                code => code,
            },
            BuildFailure::Environment(error) if is_closed_pipe(error) => return Self::silent(PIPE_CLOSED),
            BuildFailure::Environment(error) => code_of(error),
            BuildFailure::Interrupted => 130,
        };
        let needs_ids = match &failure {
            BuildFailure::Step(step) => matches!(&step.cause, StepCause::Refused(error) if lacks_id(error)),
            BuildFailure::Environment(error) => lacks_id(error),
            _ => false,
        };
        Self { code, content: Content::Build(Box::new(failure)), hint: None, needs_ids }
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        Self::usage(error.to_string())
    }
}

/// Returns the exit code for an error that is about no step.
fn code_of(error: &EngineError) -> u8 {
    match error {
        EngineError::NoCommand(_) => FAILED,
        EngineError::Image(error) if !matches!(error, ImageError::Store(_) | ImageError::Config { .. }) => FAILED,
        EngineError::Container(error) if !matches!(error, ContainerError::Store(_)) => FAILED,
        EngineError::Request { .. } | EngineError::Platform { .. } => USAGE,
        EngineError::Io { source, .. } if is_absence(source.kind()) => USAGE,
        EngineError::Tree { source, .. } if caused_by(&**source, is_absence) => USAGE,
        EngineError::Interrupted => 130,
        _ => ENVIRONMENT,
    }
}

/// Returns the exit code of a container that could not be started, as Docker has it.
pub(crate) fn start_code(error: &EngineError) -> u8 {
    match error {
        EngineError::Sandbox(SandboxError::CommandNotFound { .. } | SandboxError::InterpreterNotFound { .. }) => 127,
        EngineError::Sandbox(SandboxError::Exec { .. } | SandboxError::WorkDir { .. }) => 126,
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
        ),
        EngineError::Tree { source, .. } => caused_by(&**source, is_machine),
        EngineError::Io { source, .. } => is_machine(source.kind()),
        EngineError::Request { .. } | EngineError::Platform { .. } | EngineError::NoCommand(_) => false,
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

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    caused_by(error, |kind| kind == io::ErrorKind::BrokenPipe)
}

/// Whether an io error of such a kind is among the causes.
fn caused_by(error: &(dyn Error + 'static), is: impl Fn(io::ErrorKind) -> bool) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error
            .downcast_ref::<io::Error>()
            .map(io::Error::kind)
            .or_else(|| error.downcast_ref::<rustix::io::Errno>().map(|errno| errno.kind()));
        if kind.is_some_and(&is) {
            return true;
        }
        cause = error.source();
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
