//! What is known of one stage while its instructions are lowered.

use stave_graph::NodeId;
use stave_oci::{ImageConfig, Platform, RootFs};

use super::variables::Variables;
use super::{BaseRequest, HistoryItem, Scope, StepWorld};
use stave_pattern::clean;

/// Where programs are looked for if no image says so.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What every line of the history says about who wrote it.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// The shell of shell forms if no image and no `SHELL` says so.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A stage as its instructions have made it so far.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// The files.
    pub(super) node: NodeId,
    /// The copy of the last instruction, if its result is only merged into the files: what does the work.
    pub(super) linked: Option<NodeId>,
    /// What its commands are made for.
    pub(super) platform: Platform,
    /// The image's configuration.
    pub(super) config: ImageConfig,
    /// What words are expanded with and commands see: `ENV` and `ARG`.
    pub(super) variables: Variables,
    /// The arguments in the order of their declaration, for the history.
    pub(super) args: Vec<(String, Option<String>)>,
    /// The image that the chain of stages starts from.
    pub(super) base: Option<BaseRequest>,
    /// The lines that this file adds to the base's history.
    pub(super) history: Vec<HistoryItem>,
    /// Whether this stage (not one below it) has a `CMD`.
    pub(super) has_cmd: bool,
}

impl HistoryItem {
    /// About the memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.created_by.len() + HISTORY_COMMENT.len()
    }
}

impl Stage {
    /// Returns a stage without files.
    pub(super) fn from_scratch(node: NodeId, platform: &Platform) -> Self {
        let mut config = ImageConfig::default();
        "/".clone_into(&mut config.config.working_dir);
        Self::start(node, config, platform, None)
    }

    /// Returns a stage with the files and the configuration of an image.
    pub(super) fn from_image(node: NodeId, request: BaseRequest, config: &ImageConfig) -> Self {
        let mut config = ImageConfig {
            created: None,
            rootfs: RootFs::default(),
            history: Vec::new(),
            // What the base's builder noted about its own build is not true of this one.
            other: std::collections::BTreeMap::new(),
            ..config.clone()
        };
        config.config.other.clear();
        Self::start(node, config, &request.platform.clone(), Some(request))
    }

    fn start(node: NodeId, config: ImageConfig, platform: &Platform, base: Option<BaseRequest>) -> Self {
        let (args, history) = (Vec::new(), Vec::new());
        let mut stage = Self {
            node,
            linked: None,
            platform: platform.clone(),
            config,
            variables: Variables::none(),
            args,
            base,
            history,
            has_cmd: false,
        };
        if stage.config.architecture.is_empty() || stage.config.os.is_empty() {
            let Platform { architecture, os, os_version, variant } = platform.clone();
            let config = &mut stage.config;
            (config.architecture, config.os, config.os_version, config.variant) =
                (architecture, os, os_version, variant);
        }
        if stage.config.config.env_value("PATH").is_none() {
            stage.config.config.set_env("PATH", DEFAULT_PATH);
        }
        stage.take_over_env();
        stage
    }

    /// Returns a stage that goes on where this one ends.
    pub(super) fn child(&self) -> Self {
        let mut child = self.clone();
        child.has_cmd = false;
        child.take_over_env();
        child
    }

    /// Defines what the configuration's `ENV` says, over `ARG`s of the same name.
    fn take_over_env(&mut self) {
        for entry in &self.config.config.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.variables.set(name, value);
        }
    }

    /// Returns the platform that the stage makes something for, if that is not its own and an `ARG` has asked for it.
    pub(super) fn makes_for(&self, target: &Platform) -> Option<Platform> {
        let asked = ["TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT"]
            .into_iter()
            .any(|name| self.variables.get(name).is_some());
        (asked && *target != self.platform).then(|| target.clone())
    }

    /// Returns the variables that are in force now, and which of them are build arguments.
    pub(super) fn scope(&self) -> Scope {
        let is_arg = |name: &&String| {
            let env = self.config.config.env_value(name);
            env.is_none() || env != self.variables.get(name)
        };
        let args = self.args.iter().map(|(name, _)| name).filter(is_arg).cloned().collect();
        Scope { variables: self.variables.entries().to_vec(), args }
    }

    /// Returns about how much memory a copy of the stage takes.
    pub(super) fn bytes(&self) -> usize {
        self.history.iter().map(HistoryItem::bytes).sum::<usize>() + self.variables.bytes()
    }

    /// Adds a line to the history. `node` is what makes its layer.
    pub(super) fn record(&mut self, created_by: String, node: Option<NodeId>) {
        self.history.push(HistoryItem { created_by, comment: Some(HISTORY_COMMENT.to_owned()), author: None, node });
    }

    /// Returns `path` as seen from the working directory: absolute and clean.
    pub(super) fn absolute(&self, path: &str) -> String {
        let joined =
            if path.starts_with('/') { path.to_owned() } else { format!("/{}/{path}", self.config.config.working_dir) };
        String::from_utf8(clean(joined.as_bytes())).expect("cleaning only drops whole components")
    }

    /// Returns the working directory of commands.
    pub(super) fn cwd(&self) -> String {
        self.absolute(".")
    }

    /// Returns what its commands see beside its files.
    pub(super) fn world(&self) -> StepWorld {
        StepWorld { env: self.variables.to_environment(), cwd: self.cwd(), user: self.config.config.user.clone() }
    }

    /// Returns the arguments that run `command` in the stage's shell.
    pub(super) fn in_shell(&self, command: &str) -> Vec<String> {
        let shell = self.config.config.shell.clone().filter(|shell| !shell.is_empty());
        let mut args = shell.unwrap_or_else(|| DEFAULT_SHELL.map(str::to_owned).to_vec());
        args.push(command.to_owned());
        args
    }
}
