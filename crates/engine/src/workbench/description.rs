//! What is written down of a build's steps, so that their states can be entered later: a JSON file.
//!
//! It is read by the same or a later stave, and in a bundle it comes from anywhere: nothing in it is trusted but its shape.

use serde::{Deserialize, Serialize};
use stave_graph::{Device, Exec, Graph, MountFlag, MountKind, MountSource, Network, Op, Origin, Security, Ulimit};
use stave_store::LayerId;

use crate::error::EngineError;

/// The shape of the description. Another one is refused.
pub(super) const VERSION: u32 = 1;
/// Bytes of a description at most: environments are in it once for each step.
pub(super) const DESCRIPTION_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// All that is known of a build's steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Description {
    /// [`VERSION`].
    pub(super) version: u32,
    /// What the user called the Dockerfile.
    pub(super) name: String,
    /// The steps, in the order in which the build listed them.
    pub(super) steps: Vec<Described>,
    /// How the build failed, if it did.
    pub(super) failed: Option<Failed>,
    /// Whether it was interrupted while its steps ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) interrupted: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Described {
    pub(super) platform: String,
    pub(super) stage: String,
    /// The stage's number in the file, from 0.
    pub(super) stage_index: usize,
    pub(super) number: usize,
    pub(super) of: usize,
    pub(super) title: String,
    /// The first and the last line of the instruction, from 1.
    pub(super) lines: (usize, usize),
    pub(super) operation: Operation,
    pub(super) before: Files,
    pub(super) after: Files,
    /// Whether the build failed before it came to the step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unreached: bool,
}

/// Where files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Files {
    /// There are none.
    Nothing,
    /// Those of an image of the store.
    Image(String),
    /// The result of a step, by its cache key in hexadecimal digits.
    Result(String),
    /// Nobody knows: they were never needed.
    Unknown,
}

/// A command, or what one would see in the place of a step that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Operation {
    /// Program and arguments; empty for a step that is no command.
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    /// What of the environment is of the caller's machine, proxies: the names. Passwords may be in their values.
    #[serde(default)]
    pub(super) proxies: Vec<String>,
    pub(super) cwd: String,
    pub(super) user: String,
    pub(super) hostname: String,
    /// Whether it has the network of the machine.
    pub(super) network: bool,
    pub(super) wants_host_network: bool,
    pub(super) insecure: bool,
    pub(super) hosts: Vec<(String, String)>,
    pub(super) ulimits: Vec<(String, i64, i64)>,
    pub(super) shm_bytes: Option<u64>,
    pub(super) devices: Vec<(String, bool)>,
    #[serde(default)]
    pub(super) cgroup_parent: Option<String>,
    pub(super) mounts: Vec<DescribedMount>,
}

/// Something that the command saw at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DescribedMount {
    pub(super) target: String,
    /// Programs on it give nobody the rights of their owner.
    #[serde(default)]
    pub(super) nosuid: bool,
    /// Nothing on it is run.
    #[serde(default)]
    pub(super) noexec: bool,
    #[serde(flatten)]
    pub(super) kind: DescribedKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum DescribedKind {
    Bind {
        source: Source,
        path: String,
        writable: bool,
        /// A link at the end of the path is shown itself.
        #[serde(default)]
        link: bool,
    },
    Cache {
        id: String,
        writable: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    Tmpfs {
        bytes: Option<u64>,
    },
    /// The id and the place, never what it says.
    Secret {
        id: String,
        mode: u32,
        uid: u32,
        gid: u32,
        env: Option<String>,
        file: bool,
    },
    Ssh {
        id: String,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    Inline {
        content: String,
        mode: u32,
    },
}

/// Where a mount's files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Source {
    Empty,
    Context,
    Files(Files),
}

/// How a build failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    /// The step's place in the list.
    pub(super) step: usize,
    /// The layers below the step's own, lowest first.
    pub(super) parent: Vec<Layer>,
    /// What it changed before it failed; nothing for a step that is no command, or was never started.
    pub(super) changes: Option<Layer>,
    pub(super) mounts: Vec<KeptMount>,
    pub(super) caches: Vec<KeptCache>,
    /// The name of its log in the build's directory.
    pub(super) log: Option<String>,
}

/// A layer of the store, or of a bundle: its id, or its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Layer(pub(super) String);

impl From<LayerId> for Layer {
    fn from(id: LayerId) -> Self {
        Self(id.to_string())
    }
}

/// What a mount of the failed step showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptMount {
    /// Its number among the command's mounts.
    pub(super) mount: usize,
    pub(super) layers: Vec<Layer>,
    /// What of them is shown.
    pub(super) path: String,
}

/// A cache that the failed step used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptCache {
    pub(super) mount: usize,
    /// Its name in the store.
    pub(super) name: String,
    pub(super) path: String,
}

impl Description {
    /// Reads a description.
    pub(super) fn parse(bytes: &[u8], what: &str) -> Result<Self, EngineError> {
        let description: Self = serde_json::from_slice(bytes)
            .map_err(|source| EngineError::tree(format!("cannot read what is described in {what}"), source))?;
        if description.version != VERSION {
            let found = description.version;
            let hint = "Use the stave that wrote it, or build again.";
            return Err(EngineError::request(
                format!("{what} has a description of version {found}, and this stave reads version {VERSION}"),
                Some(hint),
            ));
        }
        let places = description.failed.iter().map(|failed| failed.step);
        if places.into_iter().any(|step| step >= description.steps.len()) {
            return Err(EngineError::request(
                format!("{what} describes a failure of a step that it does not have"),
                None,
            ));
        }
        Ok(description)
    }
}

impl Failed {
    /// Returns all layers that it stands on, as they are written down.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Layer> {
        let mounts = self.mounts.iter().flat_map(|mount| &mount.layers);
        self.parent.iter().chain(mounts).chain(&self.changes)
    }

    /// The same, to be changed.
    pub(super) fn layers_mut(&mut self) -> impl Iterator<Item = &mut Layer> {
        let mounts = self.mounts.iter_mut().flat_map(|mount| &mut mount.layers);
        self.parent.iter_mut().chain(mounts).chain(&mut self.changes)
    }
}

impl Operation {
    /// Describes a command; `files` says where those of a snapshot are.
    pub(super) fn of_command(exec: &Exec, files: &dyn Fn(stave_graph::NodeId) -> Files) -> Self {
        let source = |source: &MountSource| match source {
            MountSource::Empty => Source::Empty,
            MountSource::Context(_) => Source::Context,
            MountSource::Tree(node) => Source::Files(files(*node)),
        };
        let mount = |mount: &stave_graph::Mount| DescribedMount {
            target: mount.target.clone(),
            nosuid: mount.flags.contains(&MountFlag::NoSuid),
            noexec: mount.flags.contains(&MountFlag::NoExec),
            kind: match &mount.kind {
                MountKind::Bind { source: from, path, writable } => {
                    let link = mount.flags.contains(&MountFlag::NoDereference);
                    DescribedKind::Bind { source: source(from), path: path.clone(), writable: *writable, link }
                }
                MountKind::Cache { id, writable, mode, uid, gid, .. } => {
                    DescribedKind::Cache { id: id.clone(), writable: *writable, mode: *mode, uid: *uid, gid: *gid }
                }
                MountKind::Tmpfs { bytes } => DescribedKind::Tmpfs { bytes: *bytes },
                MountKind::Secret { id, mode, uid, gid, env, file, .. } => DescribedKind::Secret {
                    id: id.clone(),
                    mode: *mode,
                    uid: *uid,
                    gid: *gid,
                    env: env.clone(),
                    file: *file,
                },
                MountKind::Ssh { id, mode, uid, gid, .. } => {
                    DescribedKind::Ssh { id: id.clone(), mode: *mode, uid: *uid, gid: *gid }
                }
                MountKind::Inline { content, mode } => DescribedKind::Inline { content: content.clone(), mode: *mode },
            },
        };
        Self {
            args: exec.args.clone(),
            env: exec.env.clone(),
            proxies: exec.unkeyed_env.iter().filter_map(|entry| entry.split('=').next()).map(str::to_owned).collect(),
            cwd: exec.cwd.clone(),
            user: exec.user.clone(),
            hostname: exec.hostname.clone(),
            // A session asks for nothing that is recorded, so it gets no way that is not.
            network: exec.network == Network::Host && !exec.recorded,
            wants_host_network: exec.wants_host_network && !exec.recorded,
            insecure: exec.security == Security::Insecure,
            hosts: exec.hosts.clone(),
            ulimits: exec.ulimits.iter().map(|limit| (limit.name.clone(), limit.soft, limit.hard)).collect(),
            shm_bytes: exec.shm_bytes,
            devices: exec.devices.iter().map(|device| (device.name.clone(), device.required)).collect(),
            cgroup_parent: exec.cgroup_parent.clone(),
            mounts: exec.mounts.iter().map(mount).collect(),
        }
    }

    /// Describes what a command would see in the place of a step that is none.
    pub(super) fn of_world(env: Vec<String>, cwd: String, user: String) -> Self {
        Self {
            args: Vec::new(),
            env,
            proxies: Vec::new(),
            cwd,
            user,
            hostname: "buildkitsandbox".to_owned(),
            network: true,
            wants_host_network: false,
            insecure: false,
            hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_bytes: None,
            devices: Vec::new(),
            cgroup_parent: None,
            mounts: Vec::new(),
        }
    }

    /// Returns the command as the graph has it, without its mounts, running `args`.
    pub(super) fn command(&self, args: Vec<String>) -> Exec {
        // The parent is not looked at: the layers are known.
        let parent = Graph::new().add(Op::Scratch, Origin(0));
        Exec {
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            network: if self.network { Network::Host } else { Network::None },
            wants_host_network: self.wants_host_network,
            security: if self.insecure { Security::Insecure } else { Security::Sandbox },
            hosts: self.hosts.clone(),
            ulimits: self
                .ulimits
                .iter()
                .map(|(name, soft, hard)| Ulimit { name: name.clone(), soft: *soft, hard: *hard })
                .collect(),
            shm_bytes: self.shm_bytes,
            devices: self
                .devices
                .iter()
                .map(|(name, required)| Device { name: name.clone(), required: *required })
                .collect(),
            cgroup_parent: self.cgroup_parent.clone(),
            ..Exec::new(parent, args)
        }
    }

    /// Returns the command as a line for a person to run again or to change, if the step is one of a line. What a shell ran
    /// is in parentheses, so that its `exit` does not end the shell in which it is run again.
    pub(super) fn typed(&self) -> Option<String> {
        match &self.args[..] {
            [] => None,
            [_, flag, script] if flag == "-c" => {
                // A comment would hide the end.
                Some(format!("( {script} )")).filter(|_| !script.contains(['\n', '#']))
            }
            args => Some(args.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")),
        }
    }
}

/// Returns a word as a shell reads it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use stave_graph::Sharing;

    use super::*;

    #[test]
    fn a_description_is_the_same_when_it_is_read_again_and_another_version_is_refused() {
        let mut exec =
            Exec::new(Graph::new().add(Op::Scratch, Origin(0)), vec!["/bin/sh".into(), "-c".into(), "a 'b'".into()]);
        let secret =
            MountKind::Secret { id: "s".into(), required: true, mode: 0o400, uid: 0, gid: 0, env: None, file: true };
        let cache = MountKind::Cache {
            id: "c".into(),
            source: MountSource::Empty,
            path: ".".into(),
            writable: true,
            sharing: Sharing::Locked,
            mode: 0o755,
            uid: 1,
            gid: 2,
        };
        for (target, kind) in [("/run/secrets/s", secret), ("/c", cache), ("/t", MountKind::Tmpfs { bytes: Some(1) })] {
            exec.mounts.push(stave_graph::Mount::new(target, kind));
        }
        exec.ulimits.push(Ulimit { name: "nofile".into(), soft: 1, hard: -1 });
        let operation = Operation::of_command(&exec, &|_| Files::Unknown);
        let again = operation.command(exec.args.clone());
        assert_eq!(Exec { mounts: exec.mounts.clone(), ..again }, exec);
        assert_eq!(operation.typed().as_deref(), Some("( a 'b' )"));
        let step = Described {
            platform: "linux/amd64".into(),
            stage: "build".into(),
            stage_index: 0,
            number: 1,
            of: 1,
            title: "RUN a 'b'".into(),
            lines: (2, 2),
            operation,
            before: Files::Image("sha256:00".into()),
            after: Files::Result("00".into()),
            unreached: false,
        };
        let (name, steps) = ("Dockerfile".into(), vec![step]);
        let description = Description { version: VERSION, name, steps, failed: None, interrupted: false };
        let text = serde_json::to_string(&description).expect("it is JSON");
        assert_eq!(Description::parse(text.as_bytes(), "it").expect("it is one"), description);
        let other = text.replacen("\"version\":1", "\"version\":7", 1);
        assert!(Description::parse(other.as_bytes(), "it").expect_err("unknown").to_string().contains("version 7"));
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        let words = ["a", "", "a b", "it's"].map(quoted);
        assert_eq!(words, ["a", "''", "'a b'", r"'it'\''s'"]);
    }
}
