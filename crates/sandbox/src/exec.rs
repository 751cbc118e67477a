//! A further process in the namespaces of a step that runs: it sees what the step sees, and may do no more.
//!
//! The zygote has made it in the step's pid namespace. Here it joins the others, which changes its root into the step's,
//! and becomes the user. Whatever is still the builder's about it, the step cannot look at: it is not dumpable.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::error::{During, forgive};
use crate::kit::Kit;
use crate::step::{Program, Reporter, execute};
use crate::wire::{self, ExecMessage};
use crate::{Network, SandboxError, limits, person, privileges, stdio, sys};

/// Becomes the process. Returns only if that failed.
pub(crate) fn run(
    kit: &Kit,
    reports: &OwnedFd,
    payload: OwnedFd,
    files: Vec<OwnedFd>,
) -> Result<Infallible, SandboxError> {
    let reporter = Reporter::new(reports);
    let bytes = wire::unpack(payload).during("read", "the process")?;
    let message: ExecMessage<'_> =
        serde_json::from_slice(&bytes).map_err(|error| SandboxError::Protocol { detail: error.to_string() })?;
    let spec = message.spec.as_ref();
    let mut files = files.into_iter();
    let step = files.next().ok_or_else(|| SandboxError::Protocol { detail: "no step to join".to_owned() })?;
    let streams: Vec<OwnedFd> = files.collect();

    set_dumpable_behavior(DumpableBehavior::NotDumpable).during("hide", "the process")?;
    rustix::process::setsid().during("make", "a session")?;
    umask(Mode::empty());
    forgive(sys::join_new_session_keyring());
    let mut namespaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION;
    // The host's network is nobody's to join who is root of a user namespace only.
    if spec.network == Network::None {
        namespaces |= ThreadNameSpaceType::NETWORK;
    }
    if kit.cgroup2 {
        namespaces |= ThreadNameSpaceType::CONTROL_GROUP;
    }
    move_into_thread_name_spaces(step.as_fd(), namespaces).during("join", "the container's namespaces")?;
    drop(step);

    let person = person::find(&spec.user)?;
    person::enter_directory(&spec.cwd, &person, false)?;
    match message.terminal {
        Some(size) => stdio::terminal(size, &person, &reporter)?,
        None => stdio::streams(&streams, &person)?,
    }
    limits::apply(&spec.limits)?;
    privileges::drop_to(&person, &kit.step_filter, spec.security, &spec.rights)?;
    let program = Program { args: &spec.args, env: &spec.env, terminal: message.terminal.is_some() };
    execute(kit, reports, &program, &person)
}
