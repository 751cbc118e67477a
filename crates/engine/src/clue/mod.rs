//! What explains a failed step, where its surroundings do: facts, of which somebody else makes a sentence.
//!
//! Turns the failed operation, its cause, the last words of its command and the files that it saw into at most one [`Clue`].
//! It only reads: nothing here runs, changes or fetches anything, and what cannot be read is no clue.

mod access;
mod command;
mod network;
mod program;
mod said;
mod source;

use stave_dockerfile::plan::Step;
use stave_graph::{Exec, Graph, Op};
use stave_http::Environment;
use stave_sandbox::{Errno, SandboxError};
use stave_store::LayerId;
use stave_tree::Layers;

pub use access::{Denied, DeniedPlace, ReadOnly};
pub use command::{Manager, NoCommand};
pub use network::{Reach, StepNetwork, Trouble};
pub use program::Foreign;
pub use source::{NoSource, Place, Rule};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::outcome::StepCause;
use crate::source::Source;

/// What explains a failed step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clue {
    /// A command is not in the image.
    NoCommand(NoCommand),
    /// A file that is to be copied or mounted is not there.
    NoSource(NoSource),
    /// Something on the network could not be reached.
    Network(Reach),
    /// A file may not be used by the step's user.
    Denied(Denied),
    /// A file system cannot be written.
    ReadOnly(ReadOnly),
    /// A program is for another kind of machine, or is none.
    Foreign(Foreign),
}

/// What is known about a failed step.
pub(crate) struct Scene<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) source: &'a Source,
    pub(crate) graph: &'a Graph,
    pub(crate) op: &'a Op,
    pub(crate) cause: &'a StepCause,
    pub(crate) last_lines: &'a [String],
    /// The layers of the operation's inputs, its parent's first, where it has come so far.
    pub(crate) inputs: &'a [Vec<LayerId>],
    /// For which platform the step is.
    pub(crate) platform: String,
    /// The step that makes an input of the operation.
    pub(crate) maker: &'a dyn Fn(stave_graph::NodeId) -> Option<&'a Step>,
}

impl Scene<'_> {
    /// Looks for what explains the failure.
    pub(crate) fn clue(&self) -> Option<Clue> {
        match (self.cause, self.op) {
            (StepCause::Exit(code), Op::Exec(exec)) => self.of_command(exec, Some(*code)),
            (StepCause::Signal(_), Op::Exec(exec)) => self.of_command(exec, None),
            (StepCause::Refused(error), op) => self.of_refusal(error, op),
            _ => None,
        }
    }

    /// The files that the operation's parent has.
    fn files(&self) -> Option<Layers> {
        self.engine.layers(self.inputs.first()?).ok()
    }

    /// What a command's last words say. The last of them count most: what came before may have been no obstacle.
    fn of_command(&self, exec: &Exec, code: Option<i32>) -> Option<Clue> {
        let files = self.files()?;
        let is_last = |index: usize| index + 1 == self.last_lines.len();
        for (index, line) in self.last_lines.iter().enumerate().rev() {
            if said::is_full(line) {
                return None;
            }
            if let Some(command) = said::unknown_command(line).filter(|_| code == Some(127) || is_last(index)) {
                return Some(Clue::NoCommand(command::find(&files, &command)));
            }
            if let Some(path) = said::foreign_program(line) {
                return Some(Clue::Foreign(program::find(&files, &exec.cwd, &path, &self.platform)));
            }
            if let Some(words) = said::read_only(line) {
                return Some(Clue::ReadOnly(access::read_only(exec, words.first().map(String::as_str))));
            }
            if let Some(words) = said::denied(line) {
                return Some(Clue::Denied(access::denied(&files, exec, &words, code == Some(126))));
            }
            if let Some((trouble, host)) = said::unreachable(line) {
                return Some(Clue::Network(self.of_step(exec, trouble, host)));
            }
        }
        None
    }

    fn of_step(&self, exec: &Exec, trouble: Trouble, host: Option<String>) -> Reach {
        Reach {
            trouble,
            host,
            network: network::of(exec),
            proxies: network::of_step(exec),
            builder_has_proxies: !network::of_builder(&self.engine.settings.registries.http).is_empty(),
        }
    }

    fn of_refusal(&self, error: &EngineError, op: &Op) -> Option<Clue> {
        if let (EngineError::Sandbox(error), Op::Exec(exec)) = (error, op) {
            let files = self.files()?;
            return match error {
                SandboxError::CommandNotFound { program } => Some(Clue::NoCommand(command::find(&files, program))),
                SandboxError::InterpreterNotFound { program } => {
                    let interpreter = program::interpreter(&files, &exec.cwd, program)?;
                    let mut clue = command::find(&files, interpreter.rsplit('/').next().unwrap_or_default());
                    clue.needed_by = Some((program.clone(), interpreter));
                    Some(Clue::NoCommand(clue))
                }
                SandboxError::Exec { program, errno } if *errno == Errno::from(rustix::io::Errno::ACCESS) => {
                    Some(Clue::Denied(access::denied(&files, exec, std::slice::from_ref(program), true)))
                }
                SandboxError::Exec { program, errno } if errno.is_not_executable() => {
                    Some(Clue::Foreign(program::find(&files, &exec.cwd, program, &self.platform)))
                }
                SandboxError::MountSource { path, errno, .. } if *errno == Errno::from(rustix::io::Errno::NOENT) => {
                    source::of_mount(self, exec, path).map(Clue::NoSource)
                }
                _ => None,
            };
        }
        source::of_error(self, error)
            .map(Clue::NoSource)
            .or_else(|| reach(error, &self.engine.settings.registries.http).map(Clue::Network))
    }
}

/// Returns what the builder itself could not reach, if that is what the error says.
pub(crate) fn reach(error: &EngineError, environment: &Environment) -> Option<Reach> {
    let (trouble, host) = network::trouble(error)?;
    let proxies = network::of_builder(environment);
    let builder_has_proxies = !proxies.is_empty();
    Some(Reach { trouble, host, network: StepNetwork::Builders, proxies, builder_has_proxies })
}
