//! What explains a failed step, where its surroundings do: facts, of which somebody else makes a sentence.
//!
//! Turns the failed operation, its cause, the last words of its command and the files that it saw into at most one [`Clue`].
//! It only reads: nothing here runs, changes or fetches anything, and what cannot be read is no clue.

mod access;
mod command;
mod full;
mod network;
mod program;
mod said;
mod secret;
mod source;
mod view;

use stave_dockerfile::plan::Step;
use stave_graph::{Exec, Graph, Op};
use stave_http::Environment;
use stave_oci::user::UserError;
use stave_sandbox::{Errno, SandboxError};
use stave_store::LayerId;
use stave_tree::Layers;

pub use access::{Denied, DeniedMount, DeniedPlace, ReadOnly};
pub use command::{Manager, NoCommand, NoProgram};
pub use full::Full;
pub use network::{Reach, StepNetwork, Trouble};
pub use program::Foreign;
pub use secret::NoSecret;
pub use source::{NoSource, Place, Rule};

use self::access::{absolute, candidates, wanders};
use self::view::{Seen, View};
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
    /// A program is not at the path at which it was called.
    NoProgram(NoProgram),
    /// This word is one of bash's, and another shell has read it.
    OfBash(String),
    /// A secret that the step asks for was not given.
    NoSecret(NoSecret),
    /// A file system of the step's own is full.
    Full(Full),
    /// The image has no user of this name.
    NoUser {
        /// The name.
        user: String,
        /// The line of the file that asks for it; an image asks for it without.
        line: Option<usize>,
    },
    /// The step's own limit of open files is too low to start anything.
    FewFiles(i64),
    /// The command was meant to be a JSON array and is none.
    NoArray,
}

/// A complaint this many lines from the end of a command's words may be why it ended; one before is perhaps none.
const LINES_CLOSE: usize = 10;

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
    /// What the operation did to its parent's files, if that is kept.
    pub(crate) left: Option<LayerId>,
    /// The instruction on one line.
    pub(crate) title: &'a str,
    /// Where it stands in the file.
    pub(crate) start: usize,
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

    /// The files that the operation's parent has, with what the operation did to them.
    fn files(&self) -> Option<Layers> {
        let layers: Vec<LayerId> = self.inputs.first()?.iter().chain(&self.left).copied().collect();
        self.engine.layers(&layers).ok()
    }

    /// What a command's last words say. The last of them count most: what came before may have been no obstacle.
    fn of_command(&self, exec: &Exec, code: Option<i32>) -> Option<Clue> {
        let view = View::new(self, exec, self.files()?);
        for (above, line) in self.last_lines.iter().rev().enumerate() {
            let is_shells = code == Some(127) || above == 0 && said::is_of_shell(line);
            if let Some(command) = said::unknown_command(line).filter(|_| is_shells) {
                return unknown(&view, exec, &command);
            }
            if above >= LINES_CLOSE {
                continue;
            }
            if said::is_full(line) {
                return full::find(exec, &said::paths(line)).map(Clue::Full);
            }
            if let Some(path) = said::foreign_program(line) {
                return Some(Clue::Foreign(self.foreign(&view, exec, &path)));
            }
            if let Some(words) = said::read_only(line) {
                return access::read_only(exec, &words).map(Clue::ReadOnly);
            }
            if let Some(secret) = secret::find(exec, line) {
                return Some(Clue::NoSecret(secret));
            }
            if let Some(words) = said::denied(line) {
                let paths = words.first().map(|word| candidates(exec, word)).filter(|_| code == Some(126));
                if let Some(path) = paths.iter().flatten().find(|path| view.at(path) == Seen::Directory) {
                    return Some(no_program(&view, path, false));
                }
                return access::denied(&view, exec, &words, code == Some(126)).map(Clue::Denied);
            }
            // Without a host it may be about anything, and be overcome.
            let is_clear = |(trouble, host): &(Trouble, Option<String>)| {
                host.is_some() || above == 0 && *trouble != Trouble::Silence
            };
            if let Some((trouble, host)) = said::unreachable(line).filter(is_clear) {
                return Some(Clue::Network(self.of_step(exec, trouble, host)));
            }
        }
        None
    }

    fn foreign(&self, view: &View<'_, '_>, exec: &Exec, program: &str) -> Foreign {
        let paths = if program.is_empty() { Vec::new() } else { candidates(exec, program) };
        let found =
            paths.iter().find_map(|path| if let Seen::File(start) = view.at(path) { Some(start) } else { None });
        program::find(&found.unwrap_or_default(), program, &self.platform)
    }

    /// Whether the instruction names something above the root of where files come from.
    fn names_above(&self) -> bool {
        self.title.split_whitespace().any(|word| word == ".." || word.starts_with("../") || word.starts_with("./../"))
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
            return self.of_start(error, exec);
        }
        source::of_error(self, error)
            .map(Clue::NoSource)
            .or_else(|| reach(error, &self.engine.settings.registries.http).map(Clue::Network))
    }

    /// Says why a command could not be started.
    fn of_start(&self, error: &SandboxError, exec: &Exec) -> Option<Clue> {
        use rustix::io::Errno as Code;
        let view = View::new(self, exec, self.files()?);
        match error {
            SandboxError::CommandNotFound { program } => not_in_path(&view, exec, program),
            SandboxError::InterpreterNotFound { program } => match view.at(&absolute(&exec.cwd, program)) {
                Seen::File(start) => not_interpreted(&view, exec, program, &start),
                _ => None,
            },
            SandboxError::Exec { program, errno } => {
                let path = absolute(&exec.cwd, program);
                let seen = view.at(&path);
                if [Code::NOENT, Code::NOTDIR].map(Errno::from).contains(errno) {
                    return (seen == Seen::Missing).then(|| no_program(&view, &path, self.is_shell(exec)));
                }
                if seen == Seen::Directory {
                    return Some(no_program(&view, &path, self.is_shell(exec)));
                }
                if *errno == Errno::from(Code::ACCESS) {
                    let denied = access::denied(&view, exec, std::slice::from_ref(program), true);
                    return denied.map(Clue::Denied);
                }
                errno.is_not_executable().then(|| Clue::Foreign(self.foreign(&view, exec, program)))
            }
            SandboxError::User { user, source: UserError::NoUser { .. } } => {
                let user = user.split(':').next().unwrap_or_default().to_owned();
                Some(Clue::NoUser { line: self.line_of_user(), user })
            }
            SandboxError::SetUp { .. } => {
                let limit = exec.ulimits.iter().find(|limit| limit.name == "nofile")?;
                (0..FILES_TO_START).contains(&limit.soft).then_some(Clue::FewFiles(limit.soft))
            }
            SandboxError::MountSource { path, errno, .. } if *errno == Errno::from(Code::NOENT) => {
                source::of_mount(self, exec, path).map(Clue::NoSource)
            }
            _ => None,
        }
    }

    /// The line of the `USER` that is in force for the step, if its stage has one.
    fn line_of_user(&self) -> Option<usize> {
        let text = self.source.text.get(..self.start)?;
        let lines = text.lines().enumerate().collect::<Vec<_>>();
        for (index, line) in lines.into_iter().rev() {
            let keyword = line.split_whitespace().next().unwrap_or_default();
            if keyword.eq_ignore_ascii_case("USER") {
                return Some(index + 1);
            }
            if keyword.eq_ignore_ascii_case("FROM") {
                return None;
            }
        }
        None
    }

    /// Whether the program of a command is the shell for which its text was written.
    fn is_shell(&self, exec: &Exec) -> bool {
        let written = exec.args.first().map(|program| format!("\"{program}\""));
        written.is_some_and(|program| !self.title.contains(&program))
    }
}

/// Open files that a step must be able to have for its command to be started.
const FILES_TO_START: i64 = 24;

/// What a shell has for `PATH` where nobody has set it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Says why a shell did not find a command.
fn unknown(view: &View<'_, '_>, exec: &Exec, command: &str) -> Option<Clue> {
    // Written so by whoever quotes it, or as it is.
    if let Some(interpreter) = command.strip_suffix("\\r").or_else(|| command.strip_suffix('\r')) {
        let mut clue = command::find(view.files(), interpreter);
        clue.needed_by = Some((String::new(), format!("{interpreter}\r")));
        return Some(Clue::NoCommand(clue));
    }
    if command.starts_with("['") || command.starts_with("[\"") || command.starts_with('[') && command.ends_with(',') {
        return Some(Clue::NoArray);
    }
    if command::is_of_bash(command) {
        return Some(Clue::OfBash(command.to_owned()));
    }
    if !command.contains('/') {
        return not_in_path(view, exec, command);
    }
    for path in candidates(exec, command) {
        match view.at(&path) {
            Seen::Missing => {}
            Seen::File(start) => return not_interpreted(view, exec, command, &start),
            Seen::Directory | Seen::Unknown => return None,
        }
    }
    let is_certain = command.starts_with('/') || !wanders(exec);
    is_certain.then(|| no_program(view, &absolute(&exec.cwd, command), false))
}

/// Says where a program is that no directory of `PATH` has, or what that of `PATH` lacks.
fn not_in_path(view: &View<'_, '_>, exec: &Exec, command: &str) -> Option<Clue> {
    let path = exec.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(PATH);
    for directory in path.split(':') {
        match view.at(&absolute(&exec.cwd, &format!("{directory}/{command}"))) {
            Seen::Missing | Seen::Directory => {}
            Seen::File(start) => return not_interpreted(view, exec, command, &start),
            Seen::Unknown => return None,
        }
    }
    let mut clue = command::find(view.files(), command);
    let mut gone_to = candidates(exec, command).into_iter();
    clue.elsewhere = gone_to.find_map(|path| command::elsewhere(view.files(), above(&path), command));
    Some(Clue::NoCommand(clue))
}

/// The directory of a file.
fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(above, _)| above)
}

/// Says which interpreter a program lacks that begins so, if it lacks one.
fn not_interpreted(view: &View<'_, '_>, exec: &Exec, program: &str, start: &[u8]) -> Option<Clue> {
    let interpreter = program::interpreter(start)?;
    let is_missing = interpreter.ends_with('\r') || view.at(&absolute(&exec.cwd, &interpreter)) == Seen::Missing;
    is_missing.then(|| {
        let name = interpreter.rsplit('/').next().unwrap_or_default();
        let mut clue = command::find(view.files(), name);
        clue.elsewhere = command::elsewhere(view.files(), "/", name);
        clue.needed_by = Some((program.to_owned(), interpreter));
        Clue::NoCommand(clue)
    })
}

fn no_program(view: &View<'_, '_>, path: &str, is_shell: bool) -> Clue {
    let is_directory = view.at(path) == Seen::Directory;
    let root = view.files().mounted().ok().filter(|_| !is_directory && !is_shell);
    let nearest = root.and_then(|root| source::nearest_in(root, path)).map(|path| format!("/{path}"));
    Clue::NoProgram(NoProgram { path: path.to_owned(), is_directory, is_shell, nearest })
}

/// Returns what the builder itself could not reach, if that is what the error says.
pub(crate) fn reach(error: &EngineError, environment: &Environment) -> Option<Reach> {
    let (trouble, host) = network::trouble(error)?;
    let proxies = network::of_builder(environment);
    let builder_has_proxies = !proxies.is_empty();
    Some(Reach { trouble, host, network: StepNetwork::Builders, proxies, builder_has_proxies })
}
