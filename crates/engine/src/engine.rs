//! The engine: an open store, a way to start processes, a registry client, and what the caller said about the host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use stave_fetch::Fetcher;
use stave_oci::{DiffId, Platform, Reference};
use stave_registry::{Client, Config, Environment, Limits};
use stave_sandbox::{Emulation, Launcher, SandboxError, Visitor};
use stave_store::{Lease, SizeLimit, Store, StoreOptions};
use stave_tree::{Dir, LayerFormat};

use crate::cancel::Cancel;
use crate::error::EngineError;

/// Seconds after which the kernel has written changed files to the disk: it starts after 30 (`dirty_expire_centisecs`).
const WRITTEN_BY_KERNEL_SECONDS: i64 = 45;

/// All that the engine takes from its surroundings.
pub struct Settings {
    /// Where the store is.
    pub root: PathBuf,
    /// Starts steps and confined jobs; none for commands that need neither.
    pub launcher: Option<Launcher>,
    /// Looks into a running container; none for commands that never do.
    pub visitor: Option<Visitor>,
    /// Whether this process is in a user namespace of its own, so that overlays keep their notes in `user.*`.
    pub user_namespace: bool,
    /// The kernel's boot id: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Where registry configuration and credentials are looked for.
    pub registries: Environment,
    /// The caller's SSH agent, which only a context that the caller names may use without being granted it:
    /// `SSH_AUTH_SOCK`.
    pub ssh_agent: Option<PathBuf>,
    /// The host's resolver configuration, which steps with a network get: `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// Directories in which the host's administrator describes devices: `/etc/cdi`, `/var/run/cdi`.
    pub cdi_dirs: Vec<PathBuf>,
    /// The clock: the time since 1970.
    pub clock: fn() -> Duration,
    /// The most that the store may take.
    pub store_limit: SizeLimit,
    /// Ends everything when it is set.
    pub cancel: Cancel,
    /// Processors that this process may use.
    pub cpus: usize,
}

/// Carries out requests.
pub struct Engine {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    client: OnceLock<Client>,
    /// Whose turn it is to fetch a layer: what several images have in common is fetched and unpacked once.
    pulling: Mutex<BTreeMap<DiffId, Arc<Mutex<()>>>>,
    fetcher: OnceLock<Fetcher>,
    emulation: OnceLock<Emulation>,
}

impl Engine {
    /// Opens the store, and makes one if there is none.
    pub fn open(settings: Settings) -> Result<Self, EngineError> {
        let cancel = settings.cancel.clone();
        let options = StoreOptions {
            limit: settings.store_limit,
            // Whatever grows into the limit ends; the store's error says why.
            on_full: Some(Arc::new(move || cancel.cancel())),
            ..StoreOptions::new(settings.boot_id.clone(), Arc::new(settings.clock))
        };
        let store = Store::open(&settings.root, options)?;
        let engine = Self {
            settings,
            store,
            client: OnceLock::new(),
            pulling: Mutex::default(),
            fetcher: OnceLock::new(),
            emulation: OnceLock::new(),
        };
        engine.settle_what_is_old()?;
        Ok(engine)
    }

    /// Returns the seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        (self.settings.clock)().as_secs().cast_signed()
    }

    /// Has what earlier commands published recorded as durable, beside this one. The kernel has written it to the disk by
    /// itself long ago, so that this waits for nearly nothing; `docs/decisions/0002` says why nobody waited then.
    fn settle_what_is_old(&self) -> Result<(), EngineError> {
        let now = self.now();
        if self.store.unsettled_since()?.is_some_and(|since| now - since > WRITTEN_BY_KERNEL_SECONDS) {
            let store = self.store.clone();
            // If it fails, the next command tries again.
            let settle = move || drop(store.settle());
            drop(std::thread::Builder::new().name("settle".to_owned()).spawn(settle));
        }
        Ok(())
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns what ends everything that the engine does.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        &self.settings.cancel
    }

    /// Returns the turns of these layers, in an order that is the same for all who take several.
    pub(crate) fn turns(&self, layers: &[DiffId]) -> Vec<Arc<Mutex<()>>> {
        let mut pulling = self.pulling.lock().unwrap_or_else(PoisonError::into_inner);
        let sorted: BTreeSet<&DiffId> = layers.iter().collect();
        sorted.into_iter().map(|layer| Arc::clone(pulling.entry(*layer).or_default())).collect()
    }

    /// Returns the registry client. Its configuration is read when it is first needed: most builds need none.
    pub(crate) fn client(&self) -> Result<&Client, EngineError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self.new_client()?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Returns a registry client of one's own, for what outlives a borrow of the engine.
    pub(crate) fn new_client(&self) -> Result<Client, EngineError> {
        let config = Config::load(&self.settings.registries)?;
        Ok(Client::new(config, Limits::default()).with_cancel(self.settings.cancel.transfers()))
    }

    /// Returns a client that does not mind what the registry of `name` shows to prove who it is.
    pub(crate) fn insecure_client(&self, name: &Reference) -> Result<Client, EngineError> {
        let mut config = Config::load(&self.settings.registries)?;
        config.allow_insecure(&name.registry);
        Ok(Client::new(config, Limits::default()).with_cancel(self.settings.cancel.transfers()))
    }

    /// Returns what fetches files that are no images'.
    pub(crate) fn fetcher(&self) -> &Fetcher {
        self.fetcher.get_or_init(|| {
            let (environment, cancel) = (self.settings.registries.http.clone(), self.settings.cancel.transfers());
            Fetcher::new(environment, stave_fetch::Limits::default(), cancel)
        })
    }

    /// Returns who runs programs for other processors. It is asked when something is first run for another platform.
    pub(crate) fn emulation(&self) -> &Emulation {
        self.emulation.get_or_init(Emulation::find)
    }

    pub(crate) fn launcher(&self) -> Result<&Launcher, EngineError> {
        self.settings.launcher.as_ref().ok_or(EngineError::Sandbox(SandboxError::LauncherGone))
    }

    /// Fails if the caller has cancelled.
    pub(crate) fn go_on(&self) -> Result<(), EngineError> {
        if self.settings.cancel.is_cancelled() { Err(EngineError::Interrupted) } else { Ok(()) }
    }

    pub(crate) fn format(&self) -> LayerFormat {
        LayerFormat { userxattr: self.settings.user_namespace }
    }

    /// Opens a directory below the store's root.
    pub(crate) fn store_dir(&self, relative: &str) -> Result<Dir, EngineError> {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::openat(self.store.root_dir_fd(), relative, flags, rustix::fs::Mode::empty())
            .map(Dir::from_fd)
            .map_err(|source| EngineError::io("open", self.store.root().join(relative), source.into()))
    }

    pub(crate) fn lease(&self) -> Result<Lease, EngineError> {
        Ok(self.store.lease()?)
    }

    /// Returns the platform that images are made for where nobody says.
    pub(crate) fn platform(wanted: Option<&Platform>) -> Platform {
        wanted.cloned().unwrap_or_else(Platform::host)
    }

    /// Returns the platforms that images are made for, each once: at least one.
    pub(crate) fn platforms(wanted: &[Platform]) -> Vec<Platform> {
        let mut platforms: Vec<Platform> = Vec::new();
        for platform in wanted {
            if !platforms.contains(platform) {
                platforms.push(platform.clone());
            }
        }
        if platforms.is_empty() { vec![Platform::host()] } else { platforms }
    }
}

/// Opens a directory of the user.
pub(crate) fn open_user_dir(path: &Path) -> Result<Dir, EngineError> {
    Dir::open_ambient(path)
        .map_err(|source| EngineError::tree(format!("cannot open directory `{}`", path.display()), source))
}
