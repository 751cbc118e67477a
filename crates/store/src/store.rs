//! Opening a store: its directory, its version, its database.

use std::fmt;
use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::database::Database;
use crate::error::StoreError;
use crate::layout;
use crate::limit::{Ledger, OnFull, SizeLimit};
use crate::{recover, reserve, stubs, trash};

/// Returns the time since 1970.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Called with the name of each point at which the store's files and database disagree for a moment. Tests end the
/// process there.
pub type Failpoint = Arc<dyn Fn(&'static str) + Send + Sync>;

/// What a store takes from its surroundings.
#[derive(Clone)]
pub struct StoreOptions {
    /// The kernel's boot id (`/proc/sys/kernel/random/boot_id`): files that were written under another one and never
    /// [settled](Store::settle) are not trusted.
    pub boot_id: String,
    /// The clock of all times in the store.
    pub clock: Clock,
    /// The most that the store may take.
    pub limit: SizeLimit,
    /// Told when something grows into the limit: what grows has to end.
    pub on_full: Option<OnFull>,
    /// None but in tests.
    pub failpoint: Option<Failpoint>,
}

impl StoreOptions {
    /// Returns the options that everything but a fault test needs.
    #[must_use]
    pub fn new(boot_id: impl Into<String>, clock: Clock) -> Self {
        Self { boot_id: boot_id.into(), clock, limit: SizeLimit::default(), on_full: None, failpoint: None }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StoreOptions").field("boot_id", &self.boot_id).finish_non_exhaustive()
    }
}

/// An open store. Clones are the same store; all may be used by many threads.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    root: PathBuf,
    directory: File,
    database: Database,
    options: StoreOptions,
    ledger: Ledger,
    /// Deletes what a dead process left, beside the work of this one.
    sweeper: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(sweeper) = self.sweeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A sweeper that failed has left the trash to the next process.
            drop(sweeper.join());
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Store").field(&self.0.root).finish()
    }
}

impl Store {
    /// Opens the store at `root`, makes it if there is none, and clears up what dead processes left in it.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let (root, directory) = open_root(root)?;
        match version(&root)? {
            Some(found) if found == layout::VERSION => {}
            Some(found) => return Err(StoreError::Version { root, found, expected: layout::VERSION }),
            None => initialise(&root, &directory)?,
        }
        let database = Database::open(root.join(layout::DATABASE))?;
        let store = Self(Arc::new(Inner {
            root,
            directory,
            database,
            options,
            ledger: Ledger::default(),
            sweeper: Mutex::new(None),
        }));
        reserve::or_use(&store, || recover::after_restart(&store).and_then(|()| recover::dead_owners(&store)))?;
        reserve::fill_again(store.root());
        store.sweep_in_background()?;
        Ok(store)
    }

    /// Clears up what processes left that have died since the store was opened: what they were building was interrupted.
    pub fn clear_up(&self) -> Result<(), StoreError> {
        recover::dead_owners(self)
    }

    /// Returns the store's root, to which all paths of [`layout`](crate::layout) are relative.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Returns the store's root as a descriptor, for relative overlay paths.
    #[must_use]
    pub fn root_dir_fd(&self) -> BorrowedFd<'_> {
        self.0.directory.as_fd()
    }

    /// Returns the path of the constant lowest layer, which has the empty mount points of a step.
    #[must_use]
    pub fn stubs_rel_path(&self) -> &'static str {
        layout::STUBS
    }

    /// Returns the directory of what is remembered about build contexts.
    #[must_use]
    pub fn context_rel_path(&self) -> &'static str {
        layout::CONTEXT
    }

    /// Returns the boot id that this store was opened with.
    #[must_use]
    pub fn boot_id(&self) -> &str {
        &self.0.options.boot_id
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    pub(crate) fn directory(&self) -> &File {
        &self.0.directory
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(crate) fn given_limit(&self) -> SizeLimit {
        self.0.options.limit
    }

    pub(crate) fn tell_full(&self) {
        if let Some(on_full) = &self.0.options.on_full {
            on_full();
        }
    }

    /// Returns the seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.moment().0
    }

    /// Returns the seconds since 1970, and the nanoseconds since the last of them.
    pub(crate) fn moment(&self) -> (i64, u32) {
        let now = (self.0.options.clock)();
        (now.as_secs().cast_signed(), now.subsec_nanos())
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.0.root.join(relative)
    }

    /// A point at which a test may end the process.
    pub(crate) fn reach(&self, failpoint: &'static str) {
        if let Some(hook) = &self.0.options.failpoint {
            hook(failpoint);
        }
    }

    pub(crate) fn discard(&self, path: &str) -> Result<bool, StoreError> {
        Ok(trash::discard(&self.0.root, path)?.is_some())
    }

    /// Deletes a directory of ours, by way of the trash.
    pub(crate) fn delete(&self, path: &str) -> Result<(), StoreError> {
        match trash::discard(&self.0.root, path)? {
            Some(name) => trash::delete(&self.0.root, &name),
            None => Ok(()),
        }
    }

    pub(crate) fn empty_trash(&self) -> Result<u64, StoreError> {
        trash::empty(&self.0.root)
    }

    fn sweep_in_background(&self) -> Result<(), StoreError> {
        if names(&self.path(layout::TRASH))?.is_empty() {
            return Ok(());
        }
        let root = self.0.root.clone();
        let sweep = move || {
            // What could not be deleted stays in the trash, and `check` says so.
            drop(trash::empty(&root));
        };
        let thread = std::thread::Builder::new().name("store-sweeper".to_owned()).spawn(sweep);
        let handle = thread.map_err(|error| StoreError::io("start a thread for", self.path(layout::TRASH), error))?;
        *self.0.sweeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(())
    }
}

/// Returns the names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let fault = |error| StoreError::io("list", directory, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fault)? {
        names.push(entry.map_err(fault)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Makes a directory for this user only. One that is there is fine.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(StoreError::io("create", path, error)),
        _ => Ok(()),
    }
}

fn open_root(root: &Path) -> Result<(PathBuf, File), StoreError> {
    let fault = |action| move |error| StoreError::io(action, root, error);
    let open =
        || File::options().read(true).custom_flags(rustix::fs::OFlags::DIRECTORY.bits().cast_signed()).open(root);
    let directory = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(fault("create"))?;
            open()
        }
        opened => opened,
    };
    let directory = directory.map_err(fault("open"))?;
    let metadata = directory.metadata().map_err(fault("read the metadata of"))?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(StoreError::OtherUser { root: root.to_owned(), owner: metadata.uid(), user });
    }
    Ok((root.canonicalize().map_err(fault("resolve"))?, directory))
}

fn version(root: &Path) -> Result<Option<String>, StoreError> {
    let path = root.join(layout::VERSION_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
            Ok(Some(text.trim_end_matches('\n').to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", &path, error)),
    }
}

/// Asks for a place of its own on the disk for each directory that is made in this one, where the file system knows that.
///
/// An ext4 without a journal, as small virtual machines have it, keeps the inodes of deleted files back for minutes and steps
/// over each of them for every file that is made nearby. What one build deletes must not slow the files of the next.
///
/// Reference: Linux, `fs/ext4/ialloc.c`, `find_group_orlov` and `recently_deleted`; `chattr(1)`, attribute `T`.
fn keep_children_apart(path: &Path) {
    let ask = || -> io::Result<()> {
        let directory = File::open(path)?;
        let flags = ioctl_getflags(&directory)?;
        Ok(ioctl_setflags(&directory, flags | IFlags::TOPDIR)?)
    };
    // Many file systems have no such flag, and need none.
    drop(ask());
}

/// Makes a store. The version comes last, so a store that has one is whole. Another process that opens the same
/// directory waits.
fn initialise(root: &Path, directory: &File) -> Result<(), StoreError> {
    directory.lock().map_err(|error| StoreError::io("lock", root, error))?;
    let result = initialise_locked(root, directory);
    directory.unlock().map_err(|error| StoreError::io("unlock", root, error))?;
    result
}

fn initialise_locked(root: &Path, directory: &File) -> Result<(), StoreError> {
    if version(root)?.is_some() {
        return Ok(());
    }
    let ours = |name: &String| {
        layout::ROOT_NAMES.contains(&name.as_str()) || name == layout::STUBS || name.starts_with("version.")
    };
    if let Some(entry) = names(root)?.into_iter().find(|name| !ours(name)) {
        return Err(StoreError::NotAStore { root: root.to_owned(), entry });
    }
    directory
        .set_permissions(Permissions::from_mode(0o700))
        .map_err(|error| StoreError::io("set the mode of", root, error))?;
    for name in layout::DIRECTORIES {
        make_private_dir(&root.join(name))?;
    }
    // What is made here is all that is large.
    for name in [layout::TMP, layout::CONTAINERS] {
        keep_children_apart(&root.join(name));
    }
    stubs::create(root)?;
    drop(Database::open(root.join(layout::DATABASE))?);
    reserve::fill(root)?;
    // The database repairs itself, so only names have to be on the disk before the version is.
    let made = layout::DIRECTORIES.iter().map(|name| root.join(name)).chain(stubs::directories(root));
    for path in made.chain([root.to_owned()]) {
        let sync = File::open(&path).and_then(|directory| directory.sync_all());
        sync.map_err(|error| StoreError::io("write to the disk", &path, error))?;
    }
    let temporary = root.join("version.new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        io::Write::write_all(&mut file, format!("{}\n", layout::VERSION).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, root.join(layout::VERSION_FILE))?;
        directory.sync_all()
    };
    write().map_err(|error| StoreError::io("write", root.join(layout::VERSION_FILE), error))
}
