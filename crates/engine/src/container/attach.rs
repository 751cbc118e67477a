//! Attaching to a container that runs, and having it stand still.
//!
//! Turns a container that others hold into what the caller sees and feeds: its output comes by way of its log, its input
//! goes straight to it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use stave_store::{ContainerError, ContainerRecord, ContainerState};

use super::control::{Answer, Holder, Request};
use super::log::{LogPiece, LogReader};
use super::{Config, ContainerExit};
use crate::engine::Engine;
use crate::error::EngineError;

/// Time between two looks at the log.
const LOOK: Duration = Duration::from_millis(20);
/// Looks at the processes of a container that is to stand still. Each stops those that were started since the last one.
const ROUNDS_MAX: usize = 100;

impl Engine {
    /// Shows what a running container writes from now on, until it ends, and returns how it did. `on_input` gets the
    /// descriptor that its input is written to, if it has an open one. With `proxy`, signals that end this process go to
    /// the container instead.
    ///
    /// Errors: it does not run, keeps no log, or the caller was interrupted.
    pub fn attach(
        &self,
        name: &str,
        proxy: bool,
        on_input: &dyn Fn(OwnedFd),
        tell: &mut dyn FnMut(LogPiece) -> std::io::Result<()>,
    ) -> Result<ContainerExit, EngineError> {
        let record = self.running_container(name)?;
        if Config::read(&record)?.settings.no_log {
            let message =
                format!("container `{}` keeps no log, by way of which its output would be shown", record.name);
            return Err(EngineError::request(message, Some("Start it without `--log-driver none`.")));
        }
        let directory = self.store.root().join(self.store.container_file_rel_path(&record.id, ""));
        let fault = |source| EngineError::io("read the log in", &directory, source);
        let told = |source| EngineError::io("write to", "standard output", source);
        let mut reader = LogReader::new(&directory);
        // What was written before is in `logs`.
        while reader.next().map_err(fault)?.is_some() {}
        let process = process_of(&record);
        let _watch = match (&process, proxy) {
            (Some(process), true) => Some(self.cancel().watch(process.as_fd())),
            _ => None,
        };
        let holder = Holder::call(self, &record.id).ok_or(ContainerError::NotRunning(record.name.clone()))?;
        holder.ask(&Request::Attach, &[])?;
        if let (Answer::Started, files) = holder.answer()? {
            files.into_iter().for_each(on_input);
        }
        loop {
            let has_ended = holder.is_answered_within(LOOK);
            while let Some(piece) = reader.next().map_err(fault)? {
                tell(piece).map_err(told)?;
            }
            if has_ended {
                break;
            }
            if !proxy {
                self.go_on()?;
            }
        }
        match holder.answer() {
            Ok((Answer::Exited(code), _)) => Ok(ContainerExit { code }),
            _ => self.wait_container(name),
        }
    }

    /// Has all processes of a container stand still, or go on.
    ///
    /// Errors: it does not run, or a process cannot be signalled.
    pub fn pause_container(&self, name: &str, still: bool) -> Result<(), EngineError> {
        let record = self.running_container(name)?;
        if is_paused(record.state) == still {
            let is = if still { "is already paused" } else { "is not paused" };
            return Err(EngineError::request(format!("container `{}` {is}", record.name), None));
        }
        self.set_still(&record, still)
    }

    pub(super) fn set_still(&self, record: &ContainerRecord, still: bool) -> Result<(), EngineError> {
        let holder = Holder::call(self, &record.id).ok_or(ContainerError::NotRunning(record.name.clone()))?;
        holder.ask(&Request::Pause(still), &[])?;
        match holder.answer()?.0 {
            Answer::Failed(error) => Err(error.into()),
            Answer::Done | Answer::Started | Answer::Exited(_) => Ok(()),
        }
    }
}

/// The first process of a container, for good.
fn process_of(record: &ContainerRecord) -> Option<OwnedFd> {
    let ContainerState::Running { pid, .. } = record.state else { return None };
    pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()
}

/// Whether the first process of a container stands still.
///
/// Reference: `proc_pid_stat(5)`, field 3.
pub(super) fn is_paused(state: ContainerState) -> bool {
    matches!(state, ContainerState::Running { pid, .. } if is_still(pid))
}

fn is_still(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// Has all processes in the namespace of `first` stand still or go on, the first one last and first.
pub(super) fn pause(first: BorrowedFd<'_>, still: bool) -> Result<(), EngineError> {
    let first = super::pid_of(first)?;
    for _ in 0..ROUNDS_MAX {
        let mut others: Vec<u32> = super::lifecycle::numbers_of(first)?;
        others.retain(|pid| is_still(*pid) != still);
        if others.is_empty() {
            return Ok(());
        }
        for pid in others {
            let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
            match kill_process(process, if still { Signal::STOP } else { Signal::CONT }) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(errno) => return Err(EngineError::io("signal", format!("process {pid}"), errno.into())),
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // A process that is in the middle of something stands still as soon as it is done with that.
    Ok(())
}
