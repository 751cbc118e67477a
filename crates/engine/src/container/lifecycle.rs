//! What others do with a container that somebody holds: signals, further processes, waiting, reading what it wrote.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use stave_sandbox::{ExecSpec, WindowSize, wire};
use stave_store::{ContainerError, ContainerRecord, ContainerState};

use super::control::{Answer, Holder, Request};
use super::log::{LogPiece, LogReader};
use super::running::{duplicate, with_hostname};
use super::{Config, ContainerExit, end, is_alive};
use crate::engine::Engine;
use crate::error::EngineError;

/// Time that a container gets to end after it was asked to, unless it says otherwise itself.
const STOP_SECONDS: u64 = 10;
/// Time between two looks at a container of which nobody tells.
const LOOK: Duration = Duration::from_millis(20);
/// Time that a container has to end once it was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// What the kernel counts processor time in, for those who read `/proc`: `USER_HZ`.
const TICKS_PER_SECOND: u64 = 100;
/// `SIGTERM` and `SIGKILL`.
const TERM: i32 = 15;
const KILL: i32 = 9;

/// A further process in a running container.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `NAME=value`, set after the container's.
    pub env: Vec<String>,
    /// Replaces the container's working directory.
    pub workdir: Option<String>,
    /// Replaces the container's user.
    pub user: Option<String>,
    /// Whether it may do all that stave may, if the container may.
    pub privileged: bool,
    /// Whether the caller's standard input is connected.
    pub input: bool,
    /// The size of its terminal, if it has one.
    pub terminal: Option<WindowSize>,
    /// Whether nobody waits for it.
    pub detached: bool,
}

/// Which pieces of a log are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogRequest {
    /// Whether what is added later is wanted too, until the container ends.
    pub follow: bool,
}

impl Engine {
    /// Returns the record of a container that runs.
    pub(super) fn running_container(&self, name: &str) -> Result<ContainerRecord, EngineError> {
        let record = self.store.resolve_container(name)?;
        if is_alive(record.state) { Ok(record) } else { Err(ContainerError::NotRunning(record.name).into()) }
    }

    /// Sends the first process of a container a signal.
    pub fn kill_container(&self, name: &str, signal: i32) -> Result<(), EngineError> {
        let record = self.running_container(name)?;
        self.signal(&record, signal)
    }

    pub(super) fn signal(&self, record: &ContainerRecord, signal: i32) -> Result<(), EngineError> {
        let Some(holder) = Holder::call(self, &record.id) else {
            // It has just ended, or its holder is about to listen.
            return match signal {
                KILL => end(record.state).map_err(|source| EngineError::io("end container", &record.name, source)),
                _ => Err(ContainerError::NotRunning(record.name.clone()).into()),
            };
        };
        holder.ask(&Request::Signal(signal), &[])?;
        match holder.answer()?.0 {
            Answer::Failed(error) => Err(error.into()),
            Answer::Done | Answer::Started | Answer::Exited(_) => Ok(()),
        }
    }

    /// Asks a container to end, and kills it if it has not in time. One that does not run is as it should be.
    pub fn stop_container(&self, name: &str, signal: Option<i32>, seconds: Option<i64>) -> Result<(), EngineError> {
        let record = self.store.resolve_container(name)?;
        if !is_alive(record.state) {
            return Ok(());
        }
        let settings = Config::read(&record)?.settings;
        let signal = signal.or(settings.stop_signal).unwrap_or(TERM);
        let seconds = match seconds {
            Some(seconds) => u64::try_from(seconds).ok(),
            None => Some(settings.stop_seconds.unwrap_or(STOP_SECONDS)),
        };
        self.signal(&record, signal)?;
        if super::attach::is_paused(record.state) {
            // Whoever stands still hears nothing.
            self.set_still(&record, false)?;
        }
        if !self.ends_within(&record, seconds.map(Duration::from_secs))? {
            self.signal(&record, KILL)?;
            self.ends_within(&record, Some(KILL_PATIENCE))?;
        }
        Ok(())
    }

    /// Kills a container that runs and waits for its end.
    pub(super) fn end_container(&self, record: &ContainerRecord) -> Result<(), EngineError> {
        self.signal(record, KILL)?;
        self.ends_within(record, Some(KILL_PATIENCE)).map(drop)
    }

    /// Whether a container ends in time; without a time it does.
    fn ends_within(&self, record: &ContainerRecord, time: Option<Duration>) -> Result<bool, EngineError> {
        let start = Instant::now();
        if let Some(holder) = Holder::call(self, &record.id)
            && holder.ask(&Request::Wait, &[]).is_ok()
        {
            return match time {
                Some(time) => Ok(holder.is_answered_within(time)),
                None => Ok(holder.answer().is_ok() || !is_alive(record.state)),
            };
        }
        while is_alive(record.state) {
            self.go_on()?;
            if time.is_some_and(|time| start.elapsed() >= time) {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
        Ok(true)
    }

    /// Waits until a container has ended, and returns how. One that does not run has ended.
    pub fn wait_container(&self, name: &str) -> Result<ContainerExit, EngineError> {
        let record = self.store.resolve_container(name)?;
        if let Some(holder) = Holder::call(self, &record.id)
            && holder.ask(&Request::Wait, &[]).is_ok()
            && let Ok((Answer::Exited(code), _)) = holder.answer()
        {
            return Ok(ContainerExit { code });
        }
        self.ends_within(&record, None)?;
        // A container that removes itself has left no more than its end.
        match self.store.container(&record.id)?.unwrap_or(record).state {
            ContainerState::Exited { code } => Ok(ContainerExit { code }),
            ContainerState::Created => Ok(ContainerExit { code: 0 }),
            ContainerState::Running { .. } => Ok(ContainerExit { code: 137 }),
        }
    }

    /// Gives a container another name.
    pub fn rename_container(&self, name: &str, new: &str) -> Result<(), EngineError> {
        let record = self.store.resolve_container(name)?;
        Ok(self.store.rename_container(&record.id, new)?)
    }

    /// Starts a further process in a running container, and waits for its end unless it is detached. `on_terminal` gets the
    /// other end of its terminal.
    pub fn exec(
        &self,
        name: &str,
        request: &ExecRequest,
        on_terminal: &dyn Fn(OwnedFd),
    ) -> Result<ContainerExit, EngineError> {
        let record = self.running_container(name)?;
        let config = Config::read(&record)?;
        let hostname = config.hostname_of(&record);
        let spec = exec_spec(&config, &hostname, request);
        let bytes = serde_json::to_vec(&spec).expect("a process has only text keys");
        let payload = wire::payload(&bytes).map_err(|errno| EngineError::io("make", "a memory file", errno.into()))?;
        let mut files = vec![payload];
        if request.terminal.is_none() {
            files.extend(exec_streams(request)?);
        }
        let holder = Holder::call(self, &record.id).ok_or(ContainerError::NotRunning(record.name))?;
        let borrowed: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
        holder.ask(&Request::Exec(request.terminal), &borrowed)?;
        drop(files);
        loop {
            match holder.answer() {
                Ok((Answer::Started, _)) if request.detached => return Ok(ContainerExit { code: 0 }),
                Ok((Answer::Started, terminals)) => terminals.into_iter().for_each(on_terminal),
                Ok((Answer::Exited(code), _)) => return Ok(ContainerExit { code }),
                Ok((Answer::Done, _)) => {}
                Ok((Answer::Failed(error), _)) => return Err(error.into()),
                // The container has ended, and this with it.
                Err(_) => return Ok(ContainerExit { code: 137 }),
            }
        }
    }

    /// Tells what a container has written, piece by piece, the oldest first.
    pub fn logs(
        &self,
        name: &str,
        request: LogRequest,
        tell: &mut dyn FnMut(Option<LogPiece>) -> std::io::Result<()>,
    ) -> Result<(), EngineError> {
        let record = self.store.resolve_container(name)?;
        if Config::read(&record)?.settings.no_log {
            let message =
                format!("container `{}` keeps no log, because it was made with `--log-driver none`", record.name);
            return Err(EngineError::request(message, None));
        }
        let directory = self.store.root().join(self.store.container_file_rel_path(&record.id, ""));
        let fault = |source| EngineError::io("read the log in", &directory, source);
        let told = |source| EngineError::io("write to", "standard output", source);
        let mut reader = LogReader::new(&directory);
        loop {
            // Asked before the last piece is read, so that nothing is missed.
            let runs = self.store.container(&record.id)?.is_some_and(|record| is_alive(record.state));
            while let Some(piece) = reader.next().map_err(fault)? {
                tell(Some(piece)).map_err(told)?;
            }
            // So far there is no more.
            tell(None).map_err(told)?;
            if !request.follow || !runs {
                return Ok(());
            }
            self.go_on()?;
            std::thread::sleep(LOOK);
        }
    }

    /// Returns the processes of a running container: number, user number, seconds of processor time, command.
    pub fn container_processes(&self, name: &str) -> Result<Vec<(u32, u32, u64, String)>, EngineError> {
        let record = self.running_container(name)?;
        let ContainerState::Running { pid, .. } = record.state else { return Ok(Vec::new()) };
        let known = |number: u32| process(number).map(|(user, seconds, command)| (number, user, seconds, command));
        Ok(numbers_of(pid)?.into_iter().filter_map(known).collect())
    }
}

/// Returns the numbers of the processes in the namespace of process `pid`, in order.
pub(super) fn numbers_of(pid: u32) -> Result<Vec<u32>, EngineError> {
    let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(pid);
    let mut numbers = Vec::new();
    let entries = std::fs::read_dir("/proc").map_err(|source| EngineError::io("list", "/proc", source))?;
    for entry in entries.filter_map(Result::ok) {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if number == pid || own.is_some() && namespace(number) == own {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reference: `proc_pid_status(5)`, `proc_pid_stat(5)` (fields 14 and 15), `proc_pid_cmdline(5)`.
fn process(pid: u32) -> Option<(u32, u64, String)> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let status = read("status")?;
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()?;
    let stat = read("stat")?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
    Some((user, ticks / TICKS_PER_SECOND, command))
}

fn exec_spec(config: &Config, hostname: &str, request: &ExecRequest) -> ExecSpec {
    let mut env = with_hostname(&config.env, hostname);
    for variable in &request.env {
        let name = variable.split('=').next().unwrap_or(variable);
        env.retain(|known| known.split('=').next() != Some(name));
        env.push(variable.clone());
    }
    ExecSpec {
        args: request.command.clone(),
        env,
        cwd: request.workdir.clone().unwrap_or_else(|| config.workdir.clone()),
        user: request.user.clone().unwrap_or_else(|| config.user.clone()),
        network: crate::steps::exec::network(config.network()),
        security: if request.privileged { stave_sandbox::Security::Insecure } else { config.settings.security() },
        rights: config.settings.rights(),
        limits: config.settings.resource_limits(),
    }
}

fn exec_streams(request: &ExecRequest) -> Result<[OwnedFd; 3], EngineError> {
    let null = || -> Result<OwnedFd, EngineError> {
        let null = File::options().read(true).write(true).open("/dev/null");
        Ok(null.map_err(|source| EngineError::io("open", "/dev/null", source))?.into())
    };
    if request.detached {
        return Ok([null()?, null()?, null()?]);
    }
    let stdin = if request.input { duplicate(std::io::stdin().as_fd())? } else { null()? };
    Ok([stdin, duplicate(std::io::stdout().as_fd())?, duplicate(std::io::stderr().as_fd())?])
}
