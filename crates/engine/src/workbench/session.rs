//! A process in a state of a build: its files, its environment, its mounts, its user, its directory.
//!
//! What it writes goes to a directory that is deleted afterwards, so a session changes nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use stave_oci::Platform;
use stave_sandbox::{Exit, SandboxError, StepIo, WindowSize};
use stave_store::Lease;

use super::description::quoted;
use super::find::{Found, StateOf};
use super::mounts;
pub use super::tools::Shell;
use super::tools::{AGAIN, Tools, has_shell};
use crate::container::ContainerExit;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::request::Grants;
use crate::steps::devices;
use crate::steps::exec::{self, refuse_what_is_not_allowed};
use crate::steps::group::Group;
use crate::steps::mounts::scratch;

/// Which state to enter, and what to run there.
#[derive(Default)]
pub struct DebugRequest {
    /// A beginning of the build's id; the latest that fits without.
    pub build: Option<String>,
    /// A bundle instead of a build of the history.
    pub bundle: Option<PathBuf>,
    /// Which of its states.
    pub state: StateOf,
    /// Program and arguments; a shell without. `again` alone is the step's own command.
    pub command: Vec<String>,
    /// The proxies of the caller, of which a session gets those that its step had.
    pub proxies: BTreeMap<String, String>,
    /// `NAME=value`, set after those of the step.
    pub env: Vec<String>,
    /// The size of the caller's terminal, if the process gets one.
    pub terminal: Option<WindowSize>,
    /// Whether the caller's standard input is connected, where there is no terminal.
    pub input: bool,
    /// What of the caller's the process may use.
    pub grants: Grants,
    /// Which shell.
    pub shell: Shell,
}

/// A state that was found and is about to be entered.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The build's id.
    pub build: String,
    /// The step's place in the list of all steps, from 1.
    pub place: usize,
    /// Its stage: a name, or `stage-N`.
    pub stage: String,
    /// Its number in the stage, from 1.
    pub number: usize,
    /// How many steps the stage has.
    pub of: usize,
    /// The instruction on one line.
    pub title: String,
    /// Which of the step's states it is, for people: `as it failed`.
    pub what: &'static str,
    /// The working directory.
    pub cwd: String,
    /// The user as written in the Dockerfile; empty is root.
    pub user: String,
    /// Whether there is a command to run again.
    pub has_command: bool,
    /// The shell, if it is stave's own because the image has none.
    pub own_shell: bool,
    /// What the session does without, as fragments of sentences.
    pub remarks: Vec<String>,
}

impl Engine {
    /// Runs a process in a state of a build. `on_open` is told which before it starts, `on_terminal` gets the other end of
    /// its terminal when it runs.
    ///
    /// Nothing of what it does is kept.
    ///
    /// Errors: there is no such build or step; its state is not there any more; it needs rights that were not given; the
    /// process cannot be started.
    pub fn debug(
        &self,
        request: &DebugRequest,
        on_open: &dyn Fn(&Opened),
        on_terminal: &dyn Fn(OwnedFd),
    ) -> Result<ContainerExit, EngineError> {
        let lease = self.lease()?;
        let found = match &request.bundle {
            Some(bundle) => self.open_bundle(&lease, bundle)?,
            None => self.find_state(&lease, request.build.as_deref(), &request.state)?,
        };
        lease.watch_growth()?;
        let by_shell = !request.command.is_empty() && request.shell != Shell::Any;
        let session = Session { engine: self, lease: &lease, request, found: &found, by_shell };
        let exit = session.run(on_open, on_terminal)?;
        self.go_on()?;
        Ok(ContainerExit { code: exit.shell_code() })
    }
}

struct Session<'a> {
    engine: &'a Engine,
    lease: &'a Lease,
    request: &'a DebugRequest,
    found: &'a Found,
    /// Whether the shell is to run the command.
    by_shell: bool,
}

impl Session<'_> {
    fn run(&self, on_open: &dyn Fn(&Opened), on_terminal: &dyn Fn(OwnedFd)) -> Result<Exit, EngineError> {
        let Self { engine, lease, request, found, .. } = *self;
        let (shell, by_shell) =
            match self.start(&request.shell, on_open, on_terminal) {
                // The image has a shell, but not what that needs.
                Err(
                    EngineError::Sandbox(SandboxError::InterpreterNotFound { .. }) | EngineError::NoEmulator { .. },
                ) if request.shell == Shell::Any && request.command.is_empty() => (Shell::Own, false),
                // Where the image has no shell, it has few commands, and stave's own shell knows the usual ones.
                Err(EngineError::Sandbox(SandboxError::CommandNotFound { .. }))
                    if request.shell == Shell::Any && !has_shell(engine, &found.layers)? =>
                {
                    (Shell::Own, true)
                }
                ended => return ended,
            };
        let again = Session { engine, lease, request, found, by_shell };
        again.start(&shell, &|_| {}, on_terminal)
    }

    fn start(
        &self,
        shell: &Shell,
        on_open: &dyn Fn(&Opened),
        on_terminal: &dyn Fn(OwnedFd),
    ) -> Result<Exit, EngineError> {
        let Self { engine, lease, request, found, .. } = *self;
        let (step, operation) = (&found.step, &found.step.operation);
        engine.go_on()?;
        let tools = Tools::make(engine, lease, (step, &found.layers), shell)?;
        let mut command = operation.command(self.command(&tools));
        // The environment of a shell is that of the step, once it has read its first commands.
        let is_shell = request.command.is_empty() && request.terminal.is_some();
        if let Some(first_commands) = tools.env.clone().filter(|_| is_shell) {
            command.env.retain(|entry| !entry.starts_with("ENV="));
            command.env.push(first_commands);
        }
        refuse_what_is_not_allowed(&command, &request.grants)?;
        let mut mounts = mounts::prepare(engine, lease, found, &request.grants)?;
        for name in &operation.proxies {
            let given = request.proxies.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            if let Some((_, value)) = given {
                command.unkeyed_env.push(format!("{name}={value}"));
            } else if !request.env.iter().any(|entry| entry.split('=').next() == Some(name)) {
                mounts.remarks.push(format!("the proxy `{name}` is not kept; give it with `-e {name}=...`"));
            }
        }
        let remarks = std::cell::RefCell::new([found.remarks.clone(), std::mem::take(&mut mounts.remarks)].concat());
        let note = |text: &str| remarks.borrow_mut().push(text.to_owned());
        let devices = devices::find(&engine.settings.cdi_dirs, &command.devices, &note)?;
        let group = command.cgroup_parent.as_deref().map(Group::make).transpose()?;
        let work = scratch(engine, lease, &found.layers)?;
        let mut spec = exec::spec(engine, &command, &found.layers, &work)?;
        spec.mounts = std::mem::take(&mut mounts.shown);
        spec.mounts.extend(devices.mounts);
        spec.mounts.push(tools.mount());
        spec.cgroup = group.as_ref().map(Group::directory).transpose()?;
        let given = request.env.iter().filter_map(|entry| entry.split_once('='));
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (name, value) in devices.env.into_iter().chain(std::mem::take(&mut mounts.env)).chain(given) {
            spec.env.retain(|entry| entry.split('=').next() != Some(&name));
            spec.env.push(format!("{name}={value}"));
        }
        let platform: Platform = step
            .platform
            .parse()
            .map_err(|source| EngineError::tree(format!("cannot use platform `{}`", step.platform), source))?;
        on_open(&self.opened(&tools, remarks.into_inner()));
        let io = self.streams()?;
        let mut running = engine.spawn_for(&platform, spec, io)?;
        let agents = std::mem::take(&mut mounts.agents).into_iter().zip(running.take_listeners());
        let services = agents.map(|(agent, listener)| agent.serve(listener)).collect::<Result<Vec<_>, _>>()?;
        if let Some(terminal) = running.take_terminal() {
            on_terminal(terminal);
        }
        let exit = {
            let _cancel = engine
                .cancel()
                .watch(running.pidfd())
                .map_err(|source| EngineError::io("watch the process of", "the session", source))?;
            running.wait()?
        };
        drop((running, services, group, mounts, work, tools));
        Ok(exit)
    }

    /// Returns the program with its arguments.
    fn command(&self, tools: &Tools) -> Vec<String> {
        match &self.request.command[..] {
            [] if self.request.terminal.is_some() => tools.interactive.clone(),
            [] => vec![tools.shell.clone()],
            [again] if again == "again" => vec![AGAIN.to_owned()],
            [sh, rest @ ..] if sh == "sh" && (tools.is_own() || self.by_shell) => {
                std::iter::once(tools.shell.clone()).chain(rest.iter().cloned()).collect()
            }
            command if self.by_shell => {
                let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
                vec![tools.shell.clone(), "-c".to_owned(), words.join(" ")]
            }
            command => command.to_vec(),
        }
    }

    fn opened(&self, tools: &Tools, remarks: Vec<String>) -> Opened {
        let Found { build, place, step, what, .. } = self.found;
        Opened {
            build: build.clone(),
            place: *place,
            stage: step.stage.clone(),
            number: step.number,
            of: step.of,
            title: step.title.clone(),
            what,
            cwd: step.operation.cwd.clone(),
            user: step.operation.user.clone(),
            has_command: !step.operation.args.is_empty(),
            own_shell: tools.is_own(),
            remarks,
        }
    }

    fn streams(&self) -> Result<StepIo, EngineError> {
        if let Some(size) = self.request.terminal {
            return Ok(StepIo::Terminal(size));
        }
        let own = |stream: BorrowedFd<'_>| {
            stream.try_clone_to_owned().map_err(|source| EngineError::io("use", "a standard stream", source))
        };
        let stdin = if self.request.input {
            own(std::io::stdin().as_fd())?
        } else {
            File::open("/dev/null").map_err(|source| EngineError::io("open", "/dev/null", source))?.into()
        };
        Ok(StepIo::Streams { stdin, stdout: own(std::io::stdout().as_fd())?, stderr: own(std::io::stderr().as_fd())? })
    }
}
