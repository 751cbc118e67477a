//! `RUN`: a process on top of a snapshot, whose changes become a layer.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::pipe::{PipeFlags, pipe_with};
use stave_graph::{Exec, Network, Security, Ulimit};
use stave_oci::Platform;
use stave_sandbox::{Exit, ResourceLimit, RootFs, StepIo, StepSpec};
use stave_store::{LayerId, Lease, WorkDir};

use super::group::Group;
use super::mounts::{self, LeftCache, LeftMount, Mounts, Waiting};
use super::normalise::Fresh;
use super::recorded::{Served, Way};
use super::{Sources, devices, like_parent};
use crate::container::pid_of;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Stream;
use crate::log::{Pipes, StepLog};
use crate::memory::{self, MemoryKill, SIGKILL};
use crate::net;
use crate::request::{Entitlement, Grants};
use crate::requests::{Recorder, Requests};
use crate::snapshot::stacked;

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
    /// Who decides about what the command asks of the network, if that is recorded.
    pub(crate) recorder: &'a Recorder,
    /// What it asked, if that is recorded.
    pub(crate) asked: Option<Requests>,
    /// Fails if the command need not run any more.
    pub(crate) go_on: &'a dyn Fn() -> Result<(), EngineError>,
    /// Whether what the command leaves when it fails is to be kept.
    pub(crate) keeps: &'a dyn Fn() -> bool,
    /// What it left, if it failed and that is kept.
    pub(crate) left: Option<Left>,
    /// Whether memory ran out for it, when it has ended.
    pub(crate) killed: Option<MemoryKill>,
}

/// What a command that failed has left.
#[derive(Debug)]
pub(crate) struct Left {
    /// Its changes.
    pub(crate) layer: LayerId,
    /// What its mounts showed.
    pub(crate) mounts: Vec<LeftMount>,
    /// The caches that it used.
    pub(crate) caches: Vec<LeftCache>,
}

/// Runs `exec`, which is for `platform`, on `parent` and publishes its layer.
pub(crate) fn run(
    engine: &Engine,
    lease: &Lease,
    (exec, platform): (&Exec, &Platform),
    parent: &[LayerId],
    sources: Sources<'_>,
    grants: &Grants,
    watch: &mut Watch<'_>,
) -> Result<Ran, EngineError> {
    engine.go_on()?;
    // The build has looked at all steps before; but whoever made the graph, a step gets no more than the caller allows.
    refuse_what_is_not_allowed(exec, grants)?;
    let waiting = Waiting { go_on: watch.go_on, note: watch.note };
    let mut mounts = mounts::prepare(engine, lease, (exec, parent), sources, grants, &waiting)?;
    let devices = devices::find(&engine.settings.cdi_dirs, &exec.devices, watch.note)?;
    let group = exec.cgroup_parent.as_deref().map(Group::make).transpose()?;
    let work = lease.overlay_work_dir()?;
    like_parent(engine, parent, &work)?;
    let fresh = Fresh::open(engine, &work)?;
    let mut spec = spec(engine, exec, parent, &work)?;
    let way = exec.recorded.then(|| Way::new(watch.recorder, exec.wants_host_network)).transpose()?;
    if let Some(way) = &way {
        way.narrow(&mut spec);
    }
    spec.mounts = std::mem::take(&mut mounts.shown);
    spec.mounts.extend(devices.mounts);
    spec.cgroup = group.as_ref().map(Group::directory).transpose()?;
    for (name, value) in devices.env.into_iter().chain(std::mem::take(&mut mounts.env)) {
        spec.env.retain(|entry| entry.split('=').next() != Some(&name));
        spec.env.push(format!("{name}={value}"));
    }
    (watch.go_on)()?;
    let ended = carry_out(engine, (platform, spec), way.as_ref(), &mut mounts, group.as_ref().map(Group::path), watch);
    drop(group);
    engine.go_on()?;
    if was_ended(&ended, watch) {
        (watch.go_on)()?;
    }
    let ended = match (&way, ended) {
        (Some(way), Ok((exit, extended))) => {
            way.take_back(engine, &work, &extended)?;
            Ok(exit)
        }
        (_, ended) => ended.map(|(exit, _)| exit),
    };
    match ended {
        Ok(Exit::Code(0)) => {
            mounts.end();
            if let Some(asked) = &watch.asked {
                asked.write(engine, &work)?;
            }
            fresh.finish(engine, parent)?;
            Ok(Ran::Layer(lease.publish_layer(work, None)?))
        }
        failed => {
            if (watch.keeps)() {
                match leave(lease, work, mounts) {
                    Ok(left) => watch.left = Some(left),
                    // A disk that is full, for example: the step has failed for itself.
                    Err(error) => (watch.note)(&format!("what the failed step left is not kept: {error}")),
                }
            }
            failed.map(Ran::Failed)
        }
    }
}

/// Whether a command did not end by itself: the builder kills what runs beside a step that failed.
fn was_ended(ended: &Result<(Exit, Vec<String>), EngineError>, watch: &Watch<'_>) -> bool {
    matches!(ended, Ok((Exit::Signal { number: SIGKILL, .. }, _))) && watch.killed.is_none()
}

/// Makes layers of what a command that failed has left.
fn leave(lease: &Lease, work: WorkDir, mounts: Mounts) -> Result<Left, EngineError> {
    let (mounts, caches) = mounts.leave(lease)?;
    Ok(Left { layer: lease.publish_layer(work, None)?, mounts, caches })
}

/// Starts a command and waits for its end. Returns also the files that began with what its way has it trust.
fn carry_out(
    engine: &Engine,
    (platform, spec): (&Platform, StepSpec),
    way: Option<&Way<'_>>,
    mounts: &mut Mounts,
    own_group: Option<&Path>,
    watch: &mut Watch<'_>,
) -> Result<(Exit, Vec<String>), EngineError> {
    let (io, pipes) = streams()?;
    // Of the caller's secrets only what is taken out of the output outlives the description of the step.
    let makes_steps = pid_of(engine.launcher()?.pidfd()).ok();
    let memory = memory::Watch::begin(own_group, makes_steps);
    let mut running = engine.spawn_for(platform, spec, io)?;
    running.notes().iter().for_each(|note| (watch.note)(note));
    let served = way.map(|way| way.serve(engine, &mut running)).transpose()?;
    let agents = std::mem::take(&mut mounts.agents).into_iter().zip(running.take_listeners());
    let _services = agents.map(|(agent, listener)| agent.serve(listener)).collect::<Result<Vec<_>, _>>()?;
    let _cancel = engine
        .cancel()
        .watch(running.pidfd())
        .map_err(|source| EngineError::io("watch the process of", "a step", source))?;
    // Whoever ended the others just before did not know of this one.
    if (watch.go_on)().is_err() {
        running.kill();
    }
    let followed = watch.log.follow(pipes, &mounts.hidden, watch.report);
    if followed.is_err() {
        running.kill();
    }
    let exit = running.wait()?;
    watch.killed = memory.end(exit, &watch.log.last_lines(), running.peak_bytes());
    let mut extended = Vec::new();
    if let Some((exchanges, files)) = served.map(Served::end) {
        let asked = Requests::new(&exchanges, &mounts.hidden);
        watch.log.say(&asked.text(), watch.report);
        (watch.asked, extended) = (Some(asked), files);
    }
    followed.map_err(|source| EngineError::io("write the log", watch.log.file(), source))?;
    Ok((exit, extended))
}

/// Fails if the command wants what the caller has not allowed.
pub(crate) fn refuse_what_is_not_allowed(exec: &Exec, grants: &Grants) -> Result<(), EngineError> {
    let insecure = match exec.security {
        Security::Sandbox => false,
        Security::Insecure => true,
    };
    let wanted = [
        (exec.wants_host_network, Entitlement::NetworkHost, "network.host", "`RUN --network=host`"),
        (insecure, Entitlement::SecurityInsecure, "security.insecure", "`RUN --security=insecure`"),
    ];
    let refused = |what: &str, name: &str| {
        let hint = format!("Allow it with `--allow {name}`, if you trust the Dockerfile.");
        EngineError::request(format!("{what} is not allowed"), Some(&hint))
    };
    for (wants, entitlement, name, what) in wanted {
        if wants && !grants.entitlements.contains(&entitlement) {
            return Err(refused(what, name));
        }
    }
    for device in &exec.devices {
        let class = device.name.split('=').next().unwrap_or_default();
        let mut names = [device.name.as_str(), class].into_iter();
        let is_named = names.any(|name| grants.entitlements.contains(&Entitlement::OneDevice(name.to_owned())));
        if !is_named && !grants.entitlements.contains(&Entitlement::Device) {
            let name = format!("device={}", device.name);
            return Err(refused(&format!("`RUN --device={}`", device.name), &name));
        }
    }
    Ok(())
}

/// Returns the world of a command on `parent`, without its mounts, whose changes go to `work`.
pub(crate) fn spec(engine: &Engine, exec: &Exec, parent: &[LayerId], work: &WorkDir) -> Result<StepSpec, EngineError> {
    let mut env = exec.env.clone();
    for entry in &exec.unkeyed_env {
        let name = entry.split_once('=').map_or(&**entry, |(name, _)| name);
        env.retain(|known| known.split_once('=').is_none_or(|(known, _)| known != name));
        env.push(entry.clone());
    }
    Ok(StepSpec {
        root: root_fs(engine, parent, work.diff_rel_path(), work.work_rel_path(), true)?,
        args: exec.args.clone(),
        env,
        cwd: exec.cwd.clone(),
        user: exec.user.clone(),
        hostname: exec.hostname.clone(),
        network: network(exec.network),
        outlet: None,
        hosts: net::hosts(&exec.hostname, &exec.hosts),
        resolv_conf: net::resolv_conf(exec.network, &engine.settings.resolv_conf),
        shm_bytes: exec.shm_bytes.unwrap_or(SHM_BYTES),
        mounts: Vec::new(),
        security: match exec.security {
            Security::Sandbox => stave_sandbox::Security::Sandbox,
            Security::Insecure => stave_sandbox::Security::Insecure,
        },
        limits: exec.ulimits.iter().map(limit).collect(),
        rights: stave_sandbox::Rights::default(),
        cgroup: None,
    })
}

/// Returns the sandbox's word for a limit, in which there is none below zero.
fn limit(limit: &Ulimit) -> ResourceLimit {
    let number = |number: i64| u64::try_from(number).ok();
    ResourceLimit { name: limit.name.clone(), soft: number(limit.soft), hard: number(limit.hard) }
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
    let lowers =
        std::iter::once(stubs).chain(stacked(layers).into_iter().map(|layer| store.layer_rel_path(layer))).collect();
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
