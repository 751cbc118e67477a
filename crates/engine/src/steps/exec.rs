//! `RUN`: a process on top of a snapshot, whose changes become a layer.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};
use stave_graph::{Exec, Network};
use stave_sandbox::{Exit, RootFs, Security, StepIo, StepSpec};
use stave_store::{LayerId, Lease, WorkDir};

use super::{Sources, like_parent};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Stream;
use crate::log::{Pipes, StepLog};
use crate::net;
use crate::request::Grants;

/// Size of a step's `/dev/shm`: what Docker gives.
pub(crate) const SHM_BYTES: u64 = 64 * 1024 * 1024;

/// How a command ended.
pub(crate) enum Ran {
    /// Well; this is its layer.
    Layer(LayerId),
    /// With this status or signal.
    Failed(Exit),
}

/// Who wants to know what a command does.
pub(crate) struct Watch<'a> {
    /// Keeps its output.
    pub(crate) log: &'a mut StepLog,
    /// Is told each piece of output.
    pub(crate) report: &'a dyn Fn(Stream, &[u8]),
    /// Is told what the command does without.
    pub(crate) note: &'a dyn Fn(&str),
}

/// Runs `exec` on `parent` and publishes its layer.
pub(crate) fn run(
    engine: &Engine,
    lease: &Lease,
    exec: &Exec,
    parent: &[LayerId],
    sources: &Sources<'_>,
    grants: &Grants,
    watch: &mut Watch<'_>,
) -> Result<Ran, EngineError> {
    engine.go_on()?;
    refuse_what_is_missing(exec, sources, grants)?;
    let work = lease.overlay_work_dir()?;
    like_parent(engine, parent, &work)?;
    let spec = spec(engine, exec, parent, &work)?;
    let (io, pipes) = streams()?;
    let running = engine.launcher()?.spawn(&spec, io)?;
    running.notes().iter().for_each(|note| (watch.note)(note));
    let exit = {
        let _cancel = engine
            .cancel()
            .watch(running.pidfd())
            .map_err(|source| EngineError::io("watch the process of", "a step", source))?;
        let followed = watch.log.follow(pipes, watch.report);
        if followed.is_err() {
            running.kill();
        }
        let exit = running.wait()?;
        followed.map_err(|source| EngineError::io("write the log", watch.log.file(), source))?;
        exit
    };
    drop(running);
    engine.go_on()?;
    match exit {
        Exit::Code(0) => Ok(Ran::Layer(lease.publish_layer(work, None)?)),
        failed @ (Exit::Code(_) | Exit::Signal { .. }) => Ok(Ran::Failed(failed)),
    }
}

fn refuse_what_is_missing(exec: &Exec, sources: &Sources<'_>, grants: &Grants) -> Result<(), EngineError> {
    let granted = !grants.secrets.is_empty() || !grants.entitlements.is_empty();
    let read = !sources.contexts.is_empty() || !sources.trees.is_empty();
    let plain = exec.mounts.is_empty() && exec.devices.is_empty() && exec.security == stave_graph::Security::Sandbox;
    if granted || read || !plain {
        return Err(EngineError::request("`RUN` with mounts, devices or privileges is not supported yet", None));
    }
    Ok(())
}

fn spec(engine: &Engine, exec: &Exec, parent: &[LayerId], work: &WorkDir) -> Result<StepSpec, EngineError> {
    let mut env = exec.env.clone();
    env.extend(exec.unkeyed_env.iter().cloned());
    Ok(StepSpec {
        root: root_fs(engine, parent, work.diff_rel_path(), work.work_rel_path(), true)?,
        args: exec.args.clone(),
        env,
        cwd: exec.cwd.clone(),
        user: exec.user.clone(),
        hostname: exec.hostname.clone(),
        network: network(exec.network),
        hosts: net::hosts(&exec.hostname),
        resolv_conf: net::resolv_conf(exec.network, &engine.settings.resolv_conf),
        shm_bytes: SHM_BYTES,
        mounts: Vec::new(),
        security: Security::Sandbox,
        limits: Vec::new(),
        cgroup: None,
    })
}

/// Returns the root file system of a process on `layers`, whose changes go to `upper`.
pub(crate) fn root_fs(
    engine: &Engine,
    layers: &[LayerId],
    upper: String,
    work: String,
    volatile: bool,
) -> Result<RootFs, EngineError> {
    let store = &engine.store;
    let base =
        store.root_dir_fd().try_clone_to_owned().map_err(|source| EngineError::io("open", store.root(), source))?;
    let stubs = store.stubs_rel_path().to_owned();
    let lowers = std::iter::once(stubs).chain(layers.iter().map(|layer| store.layer_rel_path(*layer))).collect();
    Ok(RootFs { base, lowers, upper, work, userxattr: engine.settings.user_namespace, volatile })
}

/// Returns the sandbox's word for a network.
pub(crate) fn network(network: Network) -> stave_sandbox::Network {
    match network {
        Network::Host => stave_sandbox::Network::Host,
        Network::None => stave_sandbox::Network::None,
    }
}

/// Returns an empty input and two pipes for a step, and the ends of them that the builder reads.
fn streams() -> Result<(StepIo, Pipes), EngineError> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|source| EngineError::io("make", "a pipe", source.into()));
    let stdin = File::open("/dev/null").map_err(|source| EngineError::io("open", "/dev/null", source))?;
    let (stdout, to_stdout) = pipe()?;
    let (stderr, to_stderr) = pipe()?;
    Ok((
        StepIo::Streams { stdin: OwnedFd::from(stdin), stdout: to_stdout, stderr: to_stderr },
        Pipes { stdout, stderr },
    ))
}
