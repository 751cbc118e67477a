//! Commands, and what is mounted while they run.

use std::collections::BTreeSet;

use crate::graph::NodeId;
use crate::op::ContextId;

/// A command that runs on top of the parent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exec {
    /// The file system in which it runs.
    pub parent: NodeId,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment as `NAME=value`, in the order in which the process gets it.
    pub env: Vec<String>,
    /// Further environment that must not influence the result (proxies): not part of the cache key.
    pub unkeyed_env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// Who runs it, as written in `USER`; empty is root.
    pub user: String,
    /// Name of the machine that it sees.
    pub hostname: String,
    /// The network that it sees.
    pub network: Network,
    /// Whether the Dockerfile asks for the network of this machine, which the caller must allow. Not part of the cache
    /// key, because what the command sees is the same, unless it is recorded: then it is what the proxy leads to.
    pub wants_host_network: bool,
    /// Whether what it asks of the network is recorded: then it reaches that by a proxy and no other way.
    pub recorded: bool,
    /// What is mounted over its file system, in order.
    pub mounts: Vec<Mount>,
    /// What it may do.
    pub security: Security,
    /// Further lines of `/etc/hosts`: names and addresses, in order. Only the names are part of the cache key.
    pub hosts: Vec<(String, String)>,
    /// Resource limits that differ from the builder's.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes; the builder's choice without.
    pub shm_bytes: Option<u64>,
    /// Devices that it gets.
    pub devices: Vec<Device>,
    /// The cgroup in which it runs.
    pub cgroup_parent: Option<String>,
}

impl Exec {
    /// Returns a command with nothing but arguments: no environment, in `/`, as root, without a network.
    #[must_use]
    pub fn new(parent: NodeId, args: Vec<String>) -> Self {
        Self {
            parent,
            args,
            env: Vec::new(),
            unkeyed_env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: String::new(),
            network: Network::None,
            wants_host_network: false,
            recorded: false,
            mounts: Vec::new(),
            security: Security::Sandbox,
            hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_bytes: None,
            devices: Vec::new(),
            cgroup_parent: None,
        }
    }
}

/// The network of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// The network of this machine.
    Host,
    /// A loopback interface only.
    None,
}

/// What a command may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// What any step may.
    Sandbox,
    /// All that the builder may (`RUN --security=insecure`).
    Insecure,
}

/// A limit on what a command may use, as setrlimit(2) knows them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ulimit {
    /// The name in lower case without `RLIMIT_`: `nofile`.
    pub name: String,
    /// What it starts with; -1 is no limit.
    pub soft: i64,
    /// Up to what it may raise that itself; -1 is no limit.
    pub hard: i64,
}

/// A device, named as the Container Device Interface does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// `vendor.com/class=name`.
    pub name: String,
    /// Whether the command is not run without it.
    pub required: bool,
}

/// Something that a command sees at `target` while it runs. Nothing of it is in the result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mount {
    /// Absolute and clean; empty for a secret that is only in the environment.
    pub target: String,
    /// What is not so of every mount.
    pub flags: BTreeSet<MountFlag>,
    /// What it is.
    pub kind: MountKind,
}

impl Mount {
    /// Returns a mount without flags.
    #[must_use]
    pub fn new(target: &str, kind: MountKind) -> Self {
        Self { target: target.to_owned(), flags: BTreeSet::new(), kind }
    }
}

/// What a mount is beside what it shows. No mount ever has devices.
///
/// Reference: buildah-run(1), `--mount`; mount(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MountFlag {
    /// Programs on it give nobody the rights of their owner.
    NoSuid,
    /// Nothing on it is run.
    NoExec,
    /// All of it belongs to the user of the command.
    ForUser,
    /// A link that is named is shown itself, and not what it leads to.
    NoDereference,
}

impl MountFlag {
    /// Returns its name as mounts have it in a Dockerfile.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSuid => "nosuid",
            Self::NoExec => "noexec",
            Self::ForUser => "U",
            Self::NoDereference => "no-dereference",
        }
    }
}

/// The kinds of mounts.
///
/// Reference: Dockerfile reference, `RUN --mount`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum MountKind {
    /// Files of a context or a snapshot.
    Bind {
        /// Where they come from.
        source: MountSource,
        /// What of it: relative to its root, clean; `.` is all of it.
        path: String,
        /// Whether the command may write; what it writes is thrown away.
        writable: bool,
    },
    /// A directory that later builds find again.
    Cache {
        /// Its name in the store.
        id: String,
        /// What is in it when it is new.
        source: MountSource,
        /// What of the source: relative to its root, clean; `.` is all of it.
        path: String,
        /// Whether the command may write.
        writable: bool,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// Permissions of the directory when it is new.
        mode: u32,
        /// Owner of the directory when it is new.
        uid: u32,
        /// Group of the directory when it is new.
        gid: u32,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Most bytes that it holds; the kernel's choice without.
        bytes: Option<u64>,
    },
    /// A secret of the caller's.
    Secret {
        /// Its name.
        id: String,
        /// Whether the command is not run without it.
        required: bool,
        /// Permissions of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
        /// The variable that holds it.
        env: Option<String>,
        /// Whether it is a file at the target.
        file: bool,
    },
    /// A socket of the caller's SSH agent.
    Ssh {
        /// Its name.
        id: String,
        /// Whether the command is not run without it.
        required: bool,
        /// Permissions of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
    /// A file whose content is written in the Dockerfile.
    Inline {
        /// The content.
        content: String,
        /// Permissions.
        mode: u32,
    },
}

/// Where the files of a mount come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MountSource {
    /// From nowhere: there are none.
    Empty,
    /// From a context.
    Context(ContextId),
    /// From a snapshot that this build makes.
    Tree(NodeId),
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sharing {
    /// All.
    Shared,
    /// One at a time; others get another directory.
    Private,
    /// One at a time; others wait.
    Locked,
}

impl MountKind {
    pub(crate) fn source_mut(&mut self) -> Option<&mut MountSource> {
        match self {
            Self::Bind { source, .. } | Self::Cache { source, .. } => Some(source),
            Self::Tmpfs { .. } | Self::Secret { .. } | Self::Ssh { .. } | Self::Inline { .. } => None,
        }
    }

    /// Returns the snapshot that the files come from and what of it, if it is one.
    #[must_use]
    pub fn tree(&self) -> Option<(NodeId, &str)> {
        let (Self::Bind { source, path, .. } | Self::Cache { source, path, .. }) = self else { return None };
        match source {
            MountSource::Tree(node) => Some((*node, path)),
            MountSource::Empty | MountSource::Context(_) => None,
        }
    }

    /// Returns the context that the files come from and what of it, if it is one.
    #[must_use]
    pub fn context(&self) -> Option<(ContextId, &str)> {
        let (Self::Bind { source, path, .. } | Self::Cache { source, path, .. }) = self else { return None };
        match source {
            MountSource::Context(context) => Some((*context, path)),
            MountSource::Empty | MountSource::Tree(_) => None,
        }
    }
}
