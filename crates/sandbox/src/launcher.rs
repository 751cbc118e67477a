//! The builder's side: starts the zygote, asks it for steps and jobs, waits for them.
//!
//! Each run has two sockets. On `reports` the child speaks until its program runs: the end of the stream is the exec.
//! On `events` the zygote says that the child exists and how it ended, so a thread that waits reads its own socket
//! and there is no dispatcher.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno as Code;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::error::forgive;
use crate::sys::{self, Forked};
use crate::wire::{self, Event, ExecMessage, ExitMessage, Report, Request, StepMessage};
use crate::{Errno, ExecSpec, Exit, Network, SandboxError, StepIo, StepSpec, job, zygote};

/// Longest answer of a confined job, in bytes.
pub const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A function that may run confined: see [`Launcher::confined`].
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// Its name, unique in the table.
    pub name: &'static str,
    /// The function. It runs in a process of its own; what it returns is the answer.
    pub run: fn(JobInput) -> Vec<u8>,
}

/// What a confined job is given.
#[derive(Debug)]
pub struct JobInput {
    /// The caller's bytes.
    pub request: Vec<u8>,
    /// The caller's descriptors. The first is the directory that has become the job's `/`.
    pub files: Vec<OwnedFd>,
}

/// The way to the zygote, a small single-threaded process that makes the processes of steps and jobs.
///
/// Shared by threads. Dropping it ends the zygote and whatever still runs.
#[derive(Debug)]
pub struct Launcher {
    jobs: &'static [Job],
    channel: Option<OwnedFd>,
    zygote: OwnedFd,
}

/// Threads of this process.
pub(crate) fn thread_count() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

impl Launcher {
    /// Forks the zygote, which knows the confined jobs in `jobs`.
    ///
    /// The caller must be uid 0 with `CAP_SYS_ADMIN` in its user namespace (see [`crate::rootless::enter`]), and its
    /// only thread must be the main one: the kernel ends all steps when that thread ends.
    pub fn start(jobs: &'static [Job]) -> Result<Self, SandboxError> {
        let failed = |action: &str, errno: Errno| SandboxError::Start { action: action.to_owned(), errno };
        let threads = thread_count().map_err(|error| failed("count the threads of this process", error.into()))?;
        if threads != 1 {
            return Err(SandboxError::NotSingleThreaded { threads });
        }
        let (ours, theirs) = wire::pair().map_err(|errno| failed("make a socket", errno.into()))?;
        match sys::fork(libc::CLONE_NEWPID, None) {
            Ok(Forked::Child) => zygote::main(theirs, jobs),
            Ok(Forked::Parent(zygote)) => Ok(Self { jobs, channel: Some(ours), zygote }),
            Err(errno) => Err(failed("fork into a pid namespace", errno.into())),
        }
    }

    /// The zygote: whatever it is put into, all that it starts from then on is in, too.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.zygote.as_fd()
    }

    /// Starts a step; returns once its program runs.
    ///
    /// If it could not be started nothing of it is left: its process has ended and its mounts are gone.
    pub fn spawn(&self, spec: &StepSpec, io: StepIo) -> Result<Running, SandboxError> {
        let (terminal, streams) = match io {
            StepIo::Streams { stdin, stdout, stderr } => (None, vec![stdin, stdout, stderr]),
            StepIo::Terminal(size) => (Some(size), Vec::new()),
        };
        let message = StepMessage::new(spec, terminal);
        let payload = serde_json::to_vec(&message).map_err(|error| protocol(&error.to_string()))?;
        let files: Vec<_> = spec.cgroup.iter().chain([&spec.root.base]).chain(&streams).map(AsFd::as_fd).collect();
        let request = Request::Step { own_network: spec.network == Network::None, own_cgroup: spec.cgroup.is_some() };
        let run = self.ask(request, &payload, &files)?;
        drop(streams);
        running(run)
    }

    /// Starts a further process in the namespaces of a step of this launcher, as whose end it ends at the latest; returns
    /// once its program runs.
    pub fn exec(&self, step: BorrowedFd<'_>, spec: &ExecSpec, io: StepIo) -> Result<Running, SandboxError> {
        let (terminal, streams) = match io {
            StepIo::Streams { stdin, stdout, stderr } => (None, vec![stdin, stdout, stderr]),
            StepIo::Terminal(size) => (Some(size), Vec::new()),
        };
        let message = ExecMessage { spec: Cow::Borrowed(spec), terminal };
        let payload = serde_json::to_vec(&message).map_err(|error| protocol(&error.to_string()))?;
        let files: Vec<_> = [step].into_iter().chain(streams.iter().map(AsFd::as_fd)).collect();
        let run = self.ask(Request::Exec, &payload, &files)?;
        drop(streams);
        running(run)
    }

    /// Runs a job of the table given to [`Launcher::start`] in a process that has `files[0]` (a directory) as its
    /// root, no network, few capabilities, and ends with the builder.
    pub fn confined(&self, job: &str, request: &[u8], files: &[BorrowedFd<'_>]) -> Result<ConfinedRun, SandboxError> {
        let found = self.jobs.iter().enumerate().find(|(_, candidate)| candidate.name == job);
        let Some((index, job)) = found else { return Err(SandboxError::UnknownJob { name: job.to_owned() }) };
        let failed = |errno: Code| SandboxError::SetUp {
            action: "make".into(),
            target: "the answer's file".into(),
            errno: errno.into(),
        };
        let answer = memfd_create(c"stave-answer", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(failed)?;
        ftruncate(&answer, ANSWER_BYTES_MAX + job::HEADER_BYTES).map_err(failed)?;
        // Whatever a hostile input makes of the job, it cannot answer more than this.
        rustix::fs::fcntl_add_seals(&answer, rustix::fs::SealFlags::GROW | rustix::fs::SealFlags::SHRINK)
            .map_err(failed)?;
        let passed: Vec<_> = [answer.as_fd()].into_iter().chain(files.iter().copied()).collect();
        let run = self.ask(Request::Job { index }, request, &passed)?;
        let outcome = Started::default().follow(&run.reports);
        let pidfd = run.child()?;
        if let Err(error) = outcome {
            run.exit()?;
            return Err(error);
        }
        Ok(ConfinedRun { name: job.name, pidfd, events: run.events, answer })
    }

    fn ask(&self, request: Request, payload: &[u8], files: &[BorrowedFd<'_>]) -> Result<Run, SandboxError> {
        let setup = |errno: Code| SandboxError::SetUp {
            action: "make".into(),
            target: "a channel".into(),
            errno: errno.into(),
        };
        let (events, their_events) = wire::pair().map_err(setup)?;
        let (reports, their_reports) = wire::pair().map_err(setup)?;
        let payload = wire::payload(payload).map_err(setup)?;
        let passed: Vec<_> = [their_events.as_fd(), their_reports.as_fd(), payload.as_fd()]
            .into_iter()
            .chain(files.iter().copied())
            .collect();
        let channel = self.channel.as_ref().ok_or(SandboxError::LauncherGone)?;
        wire::send(channel, &request, &passed).map_err(|errno| match errno {
            Code::PIPE | Code::CONNRESET => SandboxError::LauncherGone,
            errno => {
                SandboxError::SetUp { action: "ask".into(), target: "the step launcher".into(), errno: errno.into() }
            }
        })?;
        Ok(Run { events, reports })
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        drop(self.channel.take());
        // The zygote ends at the end of its channel, and the kernel ends its namespace before it can be waited for.
        while matches!(waitid(WaitId::PidFd(self.zygote.as_fd()), WaitIdOptions::EXITED), Err(Code::INTR)) {}
    }
}

fn protocol(detail: &str) -> SandboxError {
    SandboxError::Protocol { detail: detail.to_owned() }
}

/// The two channels of a run that was asked for.
struct Run {
    events: OwnedFd,
    reports: OwnedFd,
}

impl Run {
    /// The pidfd of the child.
    fn child(&self) -> Result<OwnedFd, SandboxError> {
        let mut message = next_event(&self.events)?;
        match message.parse()? {
            Event::Started => message.files.pop().ok_or_else(|| protocol("a start without a descriptor")),
            Event::NotStarted(error) => Err(error),
            Event::Exited(..) => Err(protocol("an end before the start")),
        }
    }

    fn exit(&self) -> Result<Exit, SandboxError> {
        exit(&self.events)
    }
}

/// Follows a child until its program runs.
fn running(run: Run) -> Result<Running, SandboxError> {
    let mut started = Started::default();
    let outcome = started.follow(&run.reports);
    let pidfd = run.child()?;
    match outcome {
        Ok(()) => Ok(Running {
            pidfd,
            events: run.events,
            terminal: started.terminal,
            listeners: started.listeners,
            outlet: started.outlet,
            extended: started.extended,
            notes: started.notes,
            waited: None.into(),
        }),
        Err(error) => {
            // The child is about to end; only afterwards are its mounts gone.
            run.exit()?;
            Err(error)
        }
    }
}

fn next_event(events: &OwnedFd) -> Result<wire::Received, SandboxError> {
    wire::receive(events).ok().flatten().ok_or(SandboxError::LauncherGone)
}

fn exit(events: &OwnedFd) -> Result<Exit, SandboxError> {
    end(events).map(|ended| ended.exit)
}

fn end(events: &OwnedFd) -> Result<Ended, SandboxError> {
    match next_event(events)?.parse()? {
        Event::Exited(ExitMessage::Code(code), peak_bytes) => Ok(Ended { exit: Exit::Code(code), peak_bytes }),
        Event::Exited(ExitMessage::Signal(number, core), peak_bytes) => {
            Ok(Ended { exit: Exit::Signal { number, core }, peak_bytes })
        }
        Event::NotStarted(error) => Err(error),
        Event::Started => Err(protocol("a second start")),
    }
}

/// What a child reported until its program ran.
#[derive(Default)]
struct Started {
    program: Option<String>,
    terminal: Option<OwnedFd>,
    listeners: Vec<OwnedFd>,
    outlet: Option<OwnedFd>,
    extended: Vec<String>,
    notes: Vec<String>,
}

impl Started {
    /// Reads reports until the child has executed its program, or has failed to.
    fn follow(&mut self, reports: &OwnedFd) -> Result<(), SandboxError> {
        while let Some(mut message) = wire::receive(reports).map_err(|_| SandboxError::LauncherGone)? {
            if let Some(errno) = crate::springboard::failure(&message.bytes) {
                let program = self.program.take().unwrap_or_default();
                // The child has seen the program, so what does not exist is what must interpret it.
                let interpreter_missing = errno == Errno::from(Code::NOENT);
                return Err(if interpreter_missing {
                    SandboxError::InterpreterNotFound { program }
                } else {
                    SandboxError::Exec { program, errno }
                });
            }
            match message.parse()? {
                Report::Terminal => self.terminal = message.files.pop(),
                Report::Listener => self.listeners.extend(message.files.pop()),
                Report::Outlet => self.outlet = message.files.pop(),
                Report::Extended(paths) => self.extended = paths,
                Report::Note(note) => self.notes.push(note),
                Report::Ready(program) => self.program = Some(program),
                Report::Failed(error) => return Err(error),
            }
        }
        // A child that could not be made says nothing at all; then the events have the reason.
        Ok(())
    }
}

fn send_signal(pidfd: &OwnedFd, signal: Signal) -> Result<(), Code> {
    match pidfd_send_signal(pidfd, signal) {
        Err(Code::SRCH) => Ok(()),
        other => other,
    }
}

/// A step whose program runs. Dropping it kills the step.
#[derive(Debug)]
pub struct Running {
    pidfd: OwnedFd,
    events: OwnedFd,
    terminal: Option<OwnedFd>,
    listeners: Vec<OwnedFd>,
    outlet: Option<OwnedFd>,
    extended: Vec<String>,
    notes: Vec<String>,
    waited: std::sync::Mutex<Option<Ended>>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    exit: Exit,
    peak_bytes: Option<u64>,
}

impl Running {
    /// A descriptor of the process.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The other end of the step's terminal, once, where it was started with [`StepIo::Terminal`].
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// The listening sockets of the step's [`crate::MountSource::Socket`]s, in their order, once.
    pub fn take_listeners(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.listeners)
    }

    /// The listening socket of the step's [`crate::Outlet`], once.
    pub fn take_outlet(&mut self) -> Option<OwnedFd> {
        self.outlet.take()
    }

    /// The files of the root, without links in their paths and without the first `/`, that begin with what the step's
    /// [`crate::Outlet`] has it trust.
    #[must_use]
    pub fn extended(&self) -> &[String] {
        &self.extended
    }

    /// What the step does without, as sentences: a file of the image that could not be covered, for example.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Waits for the end. All processes of the step have ended and its mounts are gone when this returns.
    pub fn wait(&self) -> Result<Exit, SandboxError> {
        self.ended().map(|ended| ended.exit)
    }

    /// Waits for the end and returns the most memory that one of the step's processes has had, in bytes, as far as it was
    /// waited for; nothing where the kernel does not say.
    ///
    /// Reference: `getrusage(2)`, `ru_maxrss`.
    #[must_use]
    pub fn peak_bytes(&self) -> Option<u64> {
        self.ended().ok()?.peak_bytes
    }

    fn ended(&self) -> Result<Ended, SandboxError> {
        let mut waited = self.waited.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(ended) = *waited {
            return Ok(ended);
        }
        let ended = end(&self.events)?;
        *waited = Some(ended);
        Ok(ended)
    }

    /// Kills all processes of the step. It is no error if there are none any more.
    pub fn kill(&self) {
        // Only a process that has ended, or one that is not ours, refuses SIGKILL; ours it is.
        forgive(send_signal(&self.pidfd, Signal::KILL));
    }

    /// Sends a signal to the step's first process. It is no error if that has ended.
    pub fn forward(&self, signal: i32) -> Result<(), SandboxError> {
        let failed = |errno: Code| SandboxError::SetUp {
            action: "send a signal".into(),
            target: signal.to_string(),
            errno: errno.into(),
        };
        let named = Signal::from_named_raw(signal).ok_or_else(|| failed(Code::INVAL))?;
        send_signal(&self.pidfd, named).map_err(failed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A job that runs. Dropping it kills the job.
#[derive(Debug)]
pub struct ConfinedRun {
    name: &'static str,
    pidfd: OwnedFd,
    events: OwnedFd,
    answer: OwnedFd,
}

impl ConfinedRun {
    /// Waits for the job's answer.
    pub fn wait(self) -> Result<Vec<u8>, SandboxError> {
        let exit = exit(&self.events)?;
        job::answer(self.name, exit, &self.answer)
    }

    /// Kills the job; [`ConfinedRun::wait`] then returns [`SandboxError::JobDied`].
    pub fn kill(&self) {
        // Only a process that has ended, or one that is not ours, refuses SIGKILL; ours it is.
        forgive(send_signal(&self.pidfd, Signal::KILL));
    }
}

impl Drop for ConfinedRun {
    fn drop(&mut self) {
        self.kill();
    }
}
