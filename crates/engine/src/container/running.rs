//! A container while it runs: the process that holds it, its streams, its log, and how it ends.
//!
//! Whoever starts a container holds it: the caller's own process, or one that was started for that and stays behind. With
//! the holder ends the container, whatever ends the holder.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::thread;

use rustix::pipe::{PipeFlags, pipe_with};
use stave_oci::Platform;
use stave_sandbox::visit::started as start_time;
use stave_sandbox::{Exit, SandboxError, StepIo, StepSpec, WindowSize};
use stave_store::{ContainerError, ContainerRecord, ContainerState};

use super::control::{Door, Ended, Served, silent_input};
use super::log::ContainerLog;
use super::{Config, ContainerExit, is_alive};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Stream;
use crate::limits::LimitGroup;
use crate::net;
use crate::steps::exec;

/// Bytes that are copied at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Who sees and feeds a container that is started.
pub enum Attached {
    /// The caller, with its standard streams; its input only where asked for.
    Caller {
        /// Whether standard input is connected.
        input: bool,
        /// The size of the caller's terminal, for a container that has one.
        size: WindowSize,
    },
    /// Nobody: what it writes is in its log.
    Nobody,
}

/// What the caller is told when the container runs.
pub struct Started {
    /// The other end of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
}

/// What a container writes, and where its holder reads it.
type Outputs = Vec<(Stream, OwnedFd)>;

impl Engine {
    /// Runs a container until it ends.
    pub fn start(
        &self,
        name: &str,
        attached: &Attached,
        on_start: &dyn Fn(Started),
    ) -> Result<ContainerExit, EngineError> {
        let lease = self.lease()?;
        let record = self.store.resolve_container(name)?;
        if is_alive(record.state) {
            return Err(ContainerError::Running(record.name).into());
        }
        lease.pin_layers(&record.snapshot)?;
        lease.begin_growth()?;
        let config = Config::read(&record)?;
        let exit = self.run_record(&record, &config, attached, on_start);
        // What it wrote faster than somebody looked is its own, and is not taken away; but it is no success.
        let exit = exit.and_then(|exit| self.store.hold_limit().map(|()| exit).map_err(EngineError::from));
        if config.settings.remove {
            // Somebody else may have removed it already.
            match self.store.remove_container(&record.id, true) {
                Err(ContainerError::NotFound(_)) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        exit
    }

    fn run_record(
        &self,
        record: &ContainerRecord,
        config: &Config,
        attached: &Attached,
        on_start: &dyn Fn(Started),
    ) -> Result<ContainerExit, EngineError> {
        self.go_on()?;
        let spec = self.container_spec(record, config)?;
        let directory = self.store.root().join(self.store.container_file_rel_path(&record.id, ""));
        // What nobody can read later need not be kept, and is then the caller's own stream.
        let unread = config.settings.remove && matches!(attached, Attached::Caller { .. });
        let keeps = !config.settings.no_log && !unread;
        let log = keeps
            .then(|| ContainerLog::open(&directory))
            .transpose()
            .map_err(|source| EngineError::io("open the log in", &directory, source))?;
        let (io, mut outputs, held) = streams(config, attached, log.is_some())?;
        // An image that was removed by force says nothing any more.
        let platform = self.image_config(&record.image).map_or_else(|_| Platform::host(), |image| image.platform());
        // All that this process starts from here on is the container's.
        let limited = super::pid_of(self.launcher()?.pidfd())
            .and_then(|zygote| LimitGroup::enter(&config.settings.shared_limits, zygote, record.id.short()));
        let _limits = match limited {
            Ok(limits) => limits,
            Err(error) => {
                self.store.set_container_state(&record.id, ContainerState::Exited { code: start_code(&error) })?;
                return Err(error);
            }
        };
        let mut running = match self.spawn_for(&platform, spec, io) {
            Ok(running) => running,
            Err(error) => {
                self.store.set_container_state(&record.id, ContainerState::Exited { code: start_code(&error) })?;
                return Err(error);
            }
        };
        let pid = super::pid_of(running.pidfd())?;
        let state = ContainerState::Running { pid, start_time: start_time(pid).unwrap_or_default() };
        self.store.set_container_state(&record.id, state)?;
        let terminal = running.take_terminal();
        if let Some(terminal) = &terminal {
            let end = duplicate(terminal.as_fd())?;
            outputs.push((Stream::Stdout, end));
        }
        let door = Door::open(self, &record.id)?;
        let ended = Ended::default();
        let shown = matches!(attached, Attached::Caller { .. });
        let input = terminal.as_ref().map(|terminal| duplicate(terminal.as_fd())).transpose()?;
        let input = input.as_ref().map(OwnedFd::as_fd).or(held.as_ref().map(File::as_fd));
        let served = Served { launcher: self.launcher()?, running: &running, input, ended: &ended };
        let exit = thread::scope(|scope| {
            door.serve(scope, &served);
            let pumps: Vec<_> = outputs
                .into_iter()
                .map(|(stream, end)| {
                    let log = log.as_ref();
                    scope.spawn(move || pump(stream, end, shown, log).is_ok())
                })
                .collect();
            on_start(Started { terminal });
            let exit = self.watched(record, &running);
            let code = exit.as_ref().map_or(125, |exit| exit.shell_code());
            // What it wrote last is shown before anybody learns that it has ended.
            for pump in pumps {
                drop(pump.join());
            }
            let known = self.store.set_container_state(&record.id, ContainerState::Exited { code });
            ended.set(code);
            door.close();
            match known {
                // Somebody has removed it by force.
                Err(ContainerError::NotFound(_)) | Ok(()) => exit,
                Err(error) => Err(error.into()),
            }
        })?;
        self.go_on()?;
        Ok(ContainerExit { code: exit.shell_code() })
    }

    fn watched(&self, record: &ContainerRecord, running: &stave_sandbox::Running) -> Result<Exit, EngineError> {
        let _watch = self
            .cancel()
            .watch(running.pidfd())
            .map_err(|source| EngineError::io("watch the process of", &record.name, source))?;
        Ok(running.wait()?)
    }

    fn container_spec(&self, record: &ContainerRecord, config: &Config) -> Result<StepSpec, EngineError> {
        let hostname = config.hostname_of(record);
        let work = self.store.container_work_rel_path(&record.id);
        // A volatile overlay refuses a work directory that it has used before.
        let path = self.store.root().join(&work);
        std::fs::remove_dir_all(&path)
            .and_then(|()| std::fs::create_dir(&path))
            .map_err(|source| EngineError::io("clear", &path, source))?;
        let settings = &config.settings;
        let resolv_conf = if settings.resolv_conf.is_empty() {
            net::resolv_conf(config.network(), &self.settings.resolv_conf)
        } else {
            (settings.resolv_conf.join("\n") + "\n").into_bytes()
        };
        Ok(StepSpec {
            root: exec::root_fs(self, &record.snapshot, self.store.container_diff_rel_path(&record.id), work, true)?,
            args: config.args(),
            env: with_hostname(&config.env, &hostname),
            cwd: config.workdir.clone(),
            user: config.user.clone(),
            network: exec::network(config.network()),
            outlet: None,
            hosts: net::hosts(&hostname, &settings.hosts),
            resolv_conf,
            shm_bytes: settings.shm(),
            mounts: settings.step_mounts(self.store.root()),
            security: settings.security(),
            rights: settings.rights(),
            limits: settings.resource_limits(),
            cgroup: None,
            hostname,
        })
    }
}

/// Returns the variables of a container: as docker's, its host name too, unless it has one of that name.
pub(super) fn with_hostname(env: &[String], hostname: &str) -> Vec<String> {
    let mut env = env.to_vec();
    if !env.iter().any(|variable| variable.starts_with("HOSTNAME=")) {
        let after_path = usize::from(env.first().is_some_and(|first| first.starts_with("PATH=")));
        env.insert(after_path, format!("HOSTNAME={hostname}"));
    }
    env
}

/// The code of a container that could not be started, as docker has it.
fn start_code(error: &EngineError) -> i32 {
    match error {
        EngineError::Sandbox(SandboxError::CommandNotFound { .. } | SandboxError::InterpreterNotFound { .. }) => 127,
        EngineError::Sandbox(SandboxError::Exec { .. } | SandboxError::WorkDir { .. })
        | EngineError::NoEmulator { .. } => 126,
        _ => 125,
    }
}

/// Returns the container's streams, what its holder reads, and what keeps its input open.
fn streams(config: &Config, attached: &Attached, logged: bool) -> Result<(StepIo, Outputs, Option<File>), EngineError> {
    let mut held = None;
    let input = matches!(attached, Attached::Caller { input: true, .. });
    if config.settings.terminal {
        let size = match attached {
            Attached::Caller { size, .. } => *size,
            Attached::Nobody => WindowSize { rows: 24, columns: 80 },
        };
        return Ok((StepIo::Terminal(size), Vec::new(), None));
    }
    let stdin: OwnedFd = match attached {
        Attached::Caller { .. } if input => duplicate(std::io::stdin().as_fd())?,
        Attached::Nobody if config.interactive => {
            let (reader, writer) = silent_input()?;
            held = writer;
            reader
        }
        _ => File::open("/dev/null").map_err(|source| EngineError::io("open", "/dev/null", source))?.into(),
    };
    if matches!(attached, Attached::Caller { .. }) && !logged {
        let (stdout, stderr) = (duplicate(std::io::stdout().as_fd())?, duplicate(std::io::stderr().as_fd())?);
        return Ok((StepIo::Streams { stdin, stdout, stderr }, Vec::new(), None));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|source| EngineError::io("make", "a pipe", source.into()));
    let ((out_end, stdout), (error_end, stderr)) = (pipe()?, pipe()?);
    let outputs = vec![(Stream::Stdout, out_end), (Stream::Stderr, error_end)];
    Ok((StepIo::Streams { stdin, stdout, stderr }, outputs, held))
}

pub(super) fn duplicate(descriptor: BorrowedFd<'_>) -> Result<OwnedFd, EngineError> {
    let name = format!("descriptor {}", descriptor.as_raw_fd());
    descriptor.try_clone_to_owned().map_err(|source| EngineError::io("use", name, source))
}

/// Copies what a container writes to the caller and into the log, until there is no more. The container does not wait
/// for a caller that has gone.
fn pump(stream: Stream, end: OwnedFd, shown: bool, log: Option<&ContainerLog>) -> std::io::Result<()> {
    let mut end = File::from(end);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut shown = shown;
    loop {
        let count = match end.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // The end of a terminal.
            Err(_) => return Ok(()),
        };
        if let Some(log) = log {
            log.add(stream, &buffer[..count]);
        }
        if shown {
            let written = match stream {
                Stream::Stdout => write(&mut std::io::stdout().lock(), &buffer[..count]),
                Stream::Stderr => write(&mut std::io::stderr().lock(), &buffer[..count]),
            };
            shown = written.is_ok();
        }
    }
}

fn write(out: &mut impl std::io::Write, bytes: &[u8]) -> std::io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}
