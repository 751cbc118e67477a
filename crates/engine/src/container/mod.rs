//! Containers: an image's layers, a directory for changes, and what to run.
//!
//! There is no daemon to keep a container: whoever starts it holds it, and it ends with its holder (`running`). Others reach
//! it by way of the holder (`control`, `lifecycle`).
//!
//! Read `settings`, this file, `running`, `log`, `control`, `lifecycle`, `attach`, `changes`, `volumes`.

mod attach;
mod changes;
mod control;
mod describe;
mod lifecycle;
mod log;
mod running;
mod settings;
mod volumes;
mod without;

pub use changes::{Change, ChangeKind, ImageChanges};
pub use lifecycle::{ExecRequest, LogRequest};
pub use log::LogPiece;
pub use running::{Attached, Started};
pub use settings::{ContainerMount, ContainerMountKind, ContainerSettings};
pub use volumes::{VolumeFilter, VolumeSummary};

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stave_graph::Network;
use stave_oci::{ImageConfig, Platform};
use stave_sandbox::SandboxError;
use stave_sandbox::visit::started as start_time;
use stave_store::{ContainerError, ContainerRecord, ContainerState, Lease, NewContainer};
use stave_tree::{Dir, merged_writable};

use crate::build::Report;
use crate::copy_files::{self, CopyFrom, CopyTo};
use crate::engine::{Engine, open_user_dir};
use crate::error::EngineError;
use crate::event::Event;
use crate::request::{ContainerRequest, PullPolicy};

/// A container as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What the user called its image.
    pub image: String,
    /// The command with its arguments.
    pub command: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What of this machine is mounted into it.
    pub mounts: Vec<String>,
    /// Where in it something is mounted.
    pub targets: Vec<String>,
    /// Its network: `host` or `none`.
    pub network: &'static str,
    /// The ports that it says it listens at: `80/tcp`.
    pub exposed: Vec<String>,
    /// When it was made, since 1970.
    pub created: Duration,
    /// When it was last started, since 1970.
    pub started: Option<Duration>,
    /// When it last ended, since 1970.
    pub finished: Option<Duration>,
    /// What it is doing.
    pub state: ContainerState,
    /// Whether it stands still while it runs.
    pub paused: bool,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerExit {
    /// Its exit code, or 128 and the number of the signal that ended it.
    pub code: i32,
}

/// The settings of a container, as the store keeps them.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Config {
    entrypoint: Vec<String>,
    command: Vec<String>,
    env: Vec<String>,
    workdir: String,
    user: String,
    hostname: Option<String>,
    labels: BTreeMap<String, String>,
    network: NetworkName,
    interactive: bool,
    #[serde(default)]
    settings: ContainerSettings,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NetworkName {
    Host,
    None,
}

impl NetworkName {
    fn text(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::None => "none",
        }
    }
}

impl Config {
    fn new(request: ContainerRequest, image: &ImageConfig) -> Result<Self, EngineError> {
        let defaults = &image.config;
        let entrypoint = match &request.entrypoint {
            Some(replaced) if replaced.is_empty() => Vec::new(),
            Some(replaced) => vec![replaced.clone()],
            None => defaults.entrypoint.clone().unwrap_or_default(),
        };
        // A new entrypoint makes the image's command meaningless, as in Docker.
        let command = match (request.command.is_empty(), &request.entrypoint) {
            (true, None) => defaults.cmd.clone().unwrap_or_default(),
            (true, Some(_)) => Vec::new(),
            (false, _) => request.command,
        };
        if entrypoint.is_empty() && command.is_empty() {
            return Err(EngineError::NoCommand(request.image));
        }
        let mut run = defaults.clone();
        for variable in &request.env {
            if let Some((name, value)) = variable.split_once('=') {
                run.set_env(name, value);
            }
        }
        let workdir = request.workdir.unwrap_or_else(|| run.working_dir.clone());
        Ok(Self {
            entrypoint,
            command,
            env: run.env,
            workdir: if workdir.is_empty() { "/".to_owned() } else { workdir },
            user: request.user.unwrap_or(run.user),
            hostname: request.hostname,
            labels: run.labels.into_iter().chain(request.labels).collect(),
            network: match request.network {
                Network::Host => NetworkName::Host,
                Network::None => NetworkName::None,
            },
            interactive: request.interactive,
            settings: with_defaults(request.settings, image),
        })
    }

    fn read(record: &ContainerRecord) -> Result<Self, EngineError> {
        serde_json::from_str(&record.config).map_err(|source| {
            EngineError::tree(format!("cannot use the settings of container `{}`", record.name), source)
        })
    }

    /// Has an image run as this container does.
    fn apply_to(&self, config: &mut ImageConfig) {
        let run = &mut config.config;
        let some = |words: &Vec<String>| Some(words.clone()).filter(|words| !words.is_empty());
        (run.entrypoint, run.cmd) = (some(&self.entrypoint), some(&self.command));
        run.env.clone_from(&self.env);
        run.working_dir = if self.workdir == "/" { String::new() } else { self.workdir.clone() };
        run.user.clone_from(&self.user);
        run.labels.clone_from(&self.labels);
        run.exposed_ports.extend(self.settings.exposed.iter().map(|port| (with_protocol(port), stave_oci::Empty {})));
    }

    fn args(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.command).cloned().collect()
    }

    fn hostname_of(&self, record: &ContainerRecord) -> String {
        self.hostname.clone().unwrap_or_else(|| record.id.short().to_owned())
    }

    fn network(&self) -> Network {
        match self.network {
            NetworkName::Host => Network::Host,
            NetworkName::None => Network::None,
        }
    }
}

/// A port is one of TCP unless it says otherwise.
fn with_protocol(port: &str) -> String {
    if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") }
}

/// Takes from the image what the caller says nothing about.
fn with_defaults(mut settings: ContainerSettings, image: &ImageConfig) -> ContainerSettings {
    let signal = image.config.stop_signal.as_deref().and_then(crate::signal::signal_number);
    settings.stop_signal = settings.stop_signal.or(signal);
    settings.volumes.extend(image.config.volumes.keys().cloned());
    let is_mounted = |volume: &String| settings.mounts.iter().any(|mount| mount.target == *volume);
    let mounted: Vec<String> = settings.volumes.iter().filter(|volume| is_mounted(volume)).cloned().collect();
    settings.volumes.retain(|volume| !mounted.contains(volume));
    settings.volumes.sort();
    settings.volumes.dedup();
    settings
}

/// Where files of a container are copied to.
pub enum CopyTarget {
    /// A path of the user.
    Path(PathBuf),
    /// A tar on a stream.
    Tar(Box<dyn std::io::Write + Send>),
}

/// Where files for a container come from.
pub enum CopySource {
    /// A path of the user.
    Path(PathBuf),
    /// A tar on a stream, compressed or not.
    Tar(Box<dyn std::io::Read + Send>),
}

impl Engine {
    /// Makes a container and returns its id.
    pub fn create(&self, request: ContainerRequest, events: &(dyn Fn(Event) + Sync)) -> Result<String, EngineError> {
        let lease = self.lease()?;
        Ok(self.create_under(&lease, request, events)?.id.to_string())
    }

    fn create_under(
        &self,
        lease: &Lease,
        request: ContainerRequest,
        events: Report<'_>,
    ) -> Result<ContainerRecord, EngineError> {
        let (id, config) = self.image_for(lease, &request.image, request.platform.as_ref(), request.pull, events)?;
        let layers = self.unpacked_layers(lease, id, events)?;
        let (name, image_name) = (request.name.clone(), request.image.clone());
        let config = Config::new(request, &config)?;
        let volumes = config.settings.volumes.clone();
        let settings = config;
        let config = serde_json::to_string(&settings).expect("the settings have only text keys");
        let new = NewContainer {
            name: name.as_deref(),
            image: id,
            image_name: &image_name,
            snapshot: &layers,
            config: &config,
        };
        let record = lease.create_container(&new)?;
        let made = self.make_volumes(&record, &volumes);
        if let Err(error) = made.and_then(|()| self.make_named_volumes(lease, &record, &settings)) {
            self.store.remove_container(&record.id, true)?;
            return Err(error);
        }
        Ok(record)
    }

    /// Makes the directories of a container's volumes, where its image does not have them.
    fn make_volumes(&self, record: &ContainerRecord, volumes: &[String]) -> Result<(), EngineError> {
        if volumes.is_empty() {
            return Ok(());
        }
        let below = self.layers(&record.snapshot)?;
        let below = (!record.snapshot.is_empty()).then_some(&below);
        let own = self.store_dir(&self.store.container_diff_rel_path(&record.id))?;
        for volume in volumes {
            stave_tree::make_dir(below, volume.as_bytes(), None, &own)
                .map_err(|source| EngineError::tree(format!("cannot make the volume `{volume}`"), source))?;
        }
        Ok(())
    }

    /// Finds an image by name or id, and pulls it if the policy says so. Where no platform is asked for, the only one that
    /// an image is for will do.
    fn image_for(
        &self,
        lease: &Lease,
        name: &str,
        asked: Option<&Platform>,
        pull: PullPolicy,
        events: Report<'_>,
    ) -> Result<(stave_oci::ImageId, ImageConfig), EngineError> {
        let platform = Self::platform(asked);
        let here = match pull {
            PullPolicy::Always => None,
            PullPolicy::Missing | PullPolicy::Never => match self.image_for_platform(lease, name, Some(&platform)) {
                Ok(record) => Some(record),
                Err(EngineError::Image(stave_store::ImageError::NotFound(_))) if pull == PullPolicy::Missing => None,
                // A registry may have it for the platform that is missing here.
                Err(_) if pull == PullPolicy::Missing && self.is_from_registry(name) => None,
                Err(EngineError::Platform { .. }) if asked.is_none() => Some(lease.resolve_image(name)?),
                Err(error) => return Err(error),
            },
        };
        let (id, config) = if let Some(record) = here {
            (record.id, self.image_config(&record.id)?)
        } else {
            let remote = self.find_remote(name, asked, events)?;
            self.pull_image(lease, &remote, events)?;
            (remote.id, remote.config)
        };
        let found = config.platform();
        if asked.is_none() && !found.os.is_empty() && !found.runs_on(&platform) {
            let message =
                format!("`{name}` is for {found}, this machine is {platform}, and no `--platform` was asked for");
            events(Event::Notice { message });
        }
        Ok((id, config))
    }

    /// Returns what platform a container's image is for, if the image is still there.
    pub fn container_platform(&self, name: &str) -> Result<Option<Platform>, EngineError> {
        let image = self.store.resolve_container(name)?.image;
        if self.store.image(&image)?.is_none() {
            return Ok(None);
        }
        Ok(Some(self.image_config(&image)?.platform()))
    }

    /// Returns the bytes of a container's own files, and of all that it sees.
    pub fn container_sizes(&self, name: &str) -> Result<(u64, u64), EngineError> {
        let record = self.store.resolve_container(name)?;
        let mut own = 0;
        let mut waiting = vec![self.store.root().join(self.store.container_diff_rel_path(&record.id))];
        while let Some(directory) = waiting.pop() {
            // What the container removes meanwhile has no size.
            let Ok(entries) = std::fs::read_dir(&directory) else { continue };
            for entry in entries.filter_map(Result::ok) {
                let Ok(metadata) = entry.path().symlink_metadata() else { continue };
                if metadata.is_dir() {
                    waiting.push(entry.path());
                } else {
                    own += metadata.len();
                }
            }
        }
        let image = self.store.image(&record.image)?.map_or(0, |image| image.size);
        Ok((own, own + image))
    }

    /// Whether a container has a terminal, and whether its standard input is connected.
    pub fn container_terminal(&self, name: &str) -> Result<(bool, bool), EngineError> {
        let config = Config::read(&self.store.resolve_container(name)?)?;
        Ok((config.settings.terminal, config.interactive))
    }

    /// Returns all containers, the latest first.
    pub fn containers(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        self.store.containers()?.into_iter().map(summary).collect()
    }

    /// Removes a container; a running one only with `force`, which ends it. Returns its name as the caller wrote it.
    pub fn remove_container(&self, name: &str, force: bool) -> Result<String, EngineError> {
        let record = self.store.resolve_container(name)?;
        if is_alive(record.state) {
            if !force {
                return Err(ContainerError::Running(record.name).into());
            }
            self.end_container(&record)?;
        }
        match self.store.remove_container(&record.id, true) {
            // Its holder may have removed it, if it was made with `--rm`.
            Err(ContainerError::NotFound(_)) | Ok(()) => Ok(name.to_owned()),
            Err(error) => Err(error.into()),
        }
    }

    /// Copies a file or directory out of a container.
    ///
    /// With `follow`, a link at the source is followed; with `archive`, users and groups keep their numbers.
    pub fn copy_out(
        &self,
        container: &str,
        path: &[u8],
        target: CopyTarget,
        follow: bool,
        archive: bool,
    ) -> Result<(), EngineError> {
        let record = self.store.resolve_container(container)?;
        let view = self.files_of(&record)?;
        let shown = format!("{container}:{}", String::from_utf8_lossy(path));
        let from = CopyFrom { root: &view, path, shown: &shown };
        match target {
            CopyTarget::Tar(mut out) => copy_files::pack(&from, follow, &mut out),
            CopyTarget::Path(target) => {
                let (root, inside) = user_path(&target)?;
                let to = CopyTo { root: &root, path: &inside, shown: &target.display().to_string() };
                copy_files::copy(self, &from, &to, follow, archive)
            }
        }
    }

    /// Copies a file or directory, or what is in a tar, into a container.
    pub fn copy_in(
        &self,
        source: CopySource,
        container: &str,
        path: &[u8],
        follow: bool,
        archive: bool,
    ) -> Result<(), EngineError> {
        let lease = self.lease()?;
        lease.begin_growth()?;
        let record = self.store.resolve_container(container)?;
        let view = self.files_of(&record)?;
        let shown = format!("{container}:{}", String::from_utf8_lossy(path));
        match source {
            CopySource::Tar(stream) => {
                let into = view
                    .open_dir(path)
                    .map_err(|error| EngineError::tree(format!("cannot copy to `{shown}`"), error))?;
                let tar = stave_tree::decompress(stream)
                    .map_err(|error| EngineError::tree("cannot read the archive", error))?;
                copy_files::unpack(tar, &into, true)?;
            }
            CopySource::Path(source) => {
                let (root, inside) = user_path(&source)?;
                let from = CopyFrom { root: &root, path: &inside, shown: &source.display().to_string() };
                if self.store.size_limit()?.is_some() {
                    let bytes = copy_files::weight(&from, follow)?;
                    lease.make_room(|| bytes)?;
                }
                copy_files::copy(self, &from, &CopyTo { root: &view, path, shown: &shown }, follow, archive)?;
            }
        }
        Ok(self.store.hold_limit()?)
    }

    /// Returns a container's files, writable: those that its processes see, or, where none runs, its layers joined anew.
    fn files_of(&self, record: &ContainerRecord) -> Result<Dir, EngineError> {
        if let ContainerState::Running { pid, start_time } = record.state
            && is_alive(record.state)
        {
            let visitor = self.settings.visitor.as_ref().ok_or(SandboxError::LauncherGone)?;
            let root = visitor.root_of(pid, start_time).map_err(|source| {
                EngineError::tree(format!("cannot look into the running container `{}`", record.name), source)
            })?;
            if let Some(root) = root {
                return Ok(Dir::from_fd(root));
            }
        }
        self.container_view(record)
    }

    /// Returns a container's files, writable. The view is attached nowhere and vanishes when it is dropped.
    fn container_view(&self, record: &ContainerRecord) -> Result<Dir, EngineError> {
        let layers = self.open_layers(&crate::snapshot::stacked(&record.snapshot))?;
        let work_path = self.store.root().join(self.store.container_work_rel_path(&record.id));
        std::fs::remove_dir_all(&work_path)
            .and_then(|()| std::fs::create_dir(&work_path))
            .map_err(|source| EngineError::io("clear", &work_path, source))?;
        let upper = self.store_dir(&self.store.container_diff_rel_path(&record.id))?;
        let work = self.store_dir(&self.store.container_work_rel_path(&record.id))?;
        let lowest_first: Vec<&Dir> = layers.iter().collect();
        merged_writable(&lowest_first, &upper, &work, self.format()).map_err(|source| {
            EngineError::tree(format!("cannot open the files of container `{}`", record.name), source)
        })
    }
}

/// Returns the root that a path of the user is resolved in, and the path in it. A slash or `/.` at its end stays.
fn user_path(path: &Path) -> Result<(Dir, Vec<u8>), EngineError> {
    let whole = std::path::absolute(path).map_err(|source| EngineError::io("find", path, source))?;
    let written = path.as_os_str().as_encoded_bytes();
    let mut inside = whole.as_os_str().as_encoded_bytes().to_vec();
    if (written.ends_with(b"/.") || written == b".") && !inside.ends_with(b"/.") {
        inside.extend_from_slice(b"/.");
    } else if written.ends_with(b"/") && !inside.ends_with(b"/") {
        inside.push(b'/');
    }
    Ok((open_user_dir(Path::new("/"))?, inside))
}

fn summary(record: ContainerRecord) -> Result<ContainerSummary, EngineError> {
    let config = Config::read(&record)?;
    Ok(ContainerSummary {
        id: record.id.to_string(),
        command: config.args(),
        mounts: config.settings.sources(),
        targets: config.settings.mounts.iter().map(|mount| mount.target.clone()).collect(),
        network: config.network.text(),
        exposed: config.settings.exposed.iter().map(|port| with_protocol(port)).collect(),
        labels: config.labels,
        created: record.created,
        started: record.started,
        finished: record.finished,
        state: if is_alive(record.state) { record.state } else { ended(record.state) },
        paused: attach::is_paused(record.state),
        name: record.name,
        image: record.image_name,
    })
}

/// A container whose process is gone without a word was ended with its builder.
fn ended(state: ContainerState) -> ContainerState {
    match state {
        ContainerState::Running { .. } => ContainerState::Exited { code: 137 },
        state @ (ContainerState::Created | ContainerState::Exited { .. }) => state,
    }
}

fn is_alive(state: ContainerState) -> bool {
    match state {
        ContainerState::Running { pid, start_time: started } => start_time(pid) == Some(started),
        ContainerState::Created | ContainerState::Exited { .. } => false,
    }
}

/// Returns the number of a process as this process sees it.
///
/// Reference: `pidfd_open(2)`, the `Pid` field of `/proc/self/fdinfo`.
pub(crate) fn pid_of(pidfd: BorrowedFd<'_>) -> Result<u32, EngineError> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(|source| EngineError::io("read", &path, source))?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    // A process that has ended already has the number -1, and its container is about to have ended too.
    Ok(pid.unwrap_or_default())
}

/// Kills the first process of a container; the kernel kills the others with it.
fn end(state: ContainerState) -> std::io::Result<()> {
    let ContainerState::Running { pid, start_time: started } = state else { return Ok(()) };
    let Some(pid_value) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return Ok(()) };
    let process = match rustix::process::pidfd_open(pid_value, rustix::process::PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // The descriptor is of this process for good, so the check and the signal cannot be about two.
    if start_time(pid) != Some(started) {
        return Ok(());
    }
    rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL)?;
    let mut polled = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut polled, None)?;
    Ok(())
}
