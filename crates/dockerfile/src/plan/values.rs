//! What goes into a plan and what comes out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stave_graph::{ContextId, GitSource, Graph, Network, NodeId, Op, Origin, Ulimit};
use stave_oci::{ImageConfig, ImageId, Platform, Reference};
use stave_pattern::IgnoreFile;

use crate::diagnostic::Diagnostic;
use crate::span::Span;

/// What the user asked for beside the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// The stage to build, by name in any case or by number; the last one without.
    pub target: Option<String>,
    /// Values of build arguments.
    pub build_args: BTreeMap<String, String>,
    /// Labels that the image gets last, in order.
    pub labels: Vec<(String, String)>,
    /// The platform of the image.
    pub platform: Platform,
    /// The platform of this machine.
    pub build_platform: Platform,
    /// The network of `RUN` steps that choose none.
    pub network: Network,
    /// What else is true of all `RUN` steps.
    pub run: RunDefaults,
    /// Files that the caller gives a name, by [`context_name`]; `name::os/architecture` is for that platform only.
    pub contexts: BTreeMap<String, NamedContext>,
}

/// What a named context is.
///
/// Reference: `docker buildx build --build-context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory of the caller.
    Local(ContextId),
    /// An image, as it would be written in `FROM`.
    Image(String),
    /// A git repository.
    Git(GitSource),
    /// A file on the network; an archive stands for what is in it.
    Http(String),
    /// A stage of the file.
    Stage(String),
}

/// Returns the name under which a context replaces `name`: `docker.io/library/alpine:latest` is `alpine`.
#[must_use]
pub fn context_name(name: &str) -> String {
    let (name, platform) = name.split_once("::").map_or((name, None), |(name, platform)| (name, Some(platform)));
    let short = match name.parse::<Reference>() {
        Ok(reference) => {
            let written = reference.to_string();
            let familiar = written.strip_prefix(&reference.name()).map(|rest| reference.familiar_name() + rest);
            let familiar = familiar.unwrap_or(written);
            familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned()
        }
        // Names of stages in capitals are none of images.
        Err(_) => name.to_lowercase(),
    };
    platform.map_or(short.clone(), |platform| format!("{short}::{platform}"))
}

/// What is true of all `RUN` steps of a build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunDefaults {
    /// Further names and addresses for `/etc/hosts`, in order.
    pub hosts: Vec<(String, String)>,
    /// Limits that differ from the builder's.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes; the builder's choice without.
    pub shm_bytes: Option<u64>,
    /// The cgroup of the steps.
    pub cgroup_parent: Option<String>,
    /// Whether what steps with a network ask of it is recorded.
    pub recorded: bool,
    /// Whether the caller says by name that steps which choose no network have that of this machine.
    pub on_host: bool,
}

impl PlanOptions {
    /// Returns options that build the last stage for `platform` on `platform`.
    #[must_use]
    pub fn new(platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            labels: Vec::new(),
            build_platform: platform.clone(),
            platform,
            network: Network::Host,
            run: RunDefaults::default(),
            contexts: BTreeMap::new(),
        }
    }
}

/// A base image that the plan must know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseRequest {
    /// The image as it was written, variables expanded.
    pub reference: String,
    /// For which platform.
    pub platform: Platform,
}

/// What the plan must know about a base image.
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    /// Digest of its configuration.
    pub id: ImageId,
    /// Its configuration.
    pub config: ImageConfig,
}

/// What is known about the world so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// Base images that were asked for.
    pub bases: BTreeMap<BaseRequest, Base>,
    /// Base images that cannot be had. Only [`survey`](super::survey) goes on without them.
    pub absent: BTreeSet<BaseRequest>,
    /// What the context leaves out.
    pub ignored: Option<Ignored>,
    /// Operations that read the network, and what is done in the place of each.
    pub replaced: BTreeMap<Op, Op>,
}

/// The ignore file of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// What the user calls it.
    pub name: String,
    /// What it says.
    pub rules: IgnoreFile,
}

/// What [`survey`](super::survey) returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Survey {
    /// These base images must be known, or be said to be absent, then it is to be called again.
    pub missing: Vec<(BaseRequest, Span)>,
    /// What is wrong with the file.
    pub mistakes: Vec<Diagnostic>,
    /// What the checks found.
    pub findings: Vec<Diagnostic>,
}

/// What [`plan`](super::plan) returns.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// The file has mistakes; they are in the diagnostics.
    Invalid,
    /// These base images must be known, then it is to be called again. The span is where each is first named.
    Need(Vec<(BaseRequest, Span)>),
    /// The build can start.
    Ready(Box<BuildPlan>),
}

/// All that a build does.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildPlan {
    /// The operations. Every node is needed by the target.
    pub graph: Graph,
    /// The files of the image.
    pub target: NodeId,
    /// The image's configuration, without creation time, layers and history.
    pub config: ImageConfig,
    /// The image whose layers and history come before those of the steps; `None` if the first stage is from scratch.
    pub base: Option<BaseRequest>,
    /// The history of the stages from the base to the target, oldest first.
    pub history: Vec<HistoryItem>,
    /// The steps in the order of the file. An image that only `COPY --from=image` names is a node without a step.
    pub steps: Vec<Step>,
    /// Build arguments that nothing declares, in order.
    pub unused_build_args: Vec<String>,
    /// What the checks found, whether the file wants to hear it or not.
    pub findings: Vec<Diagnostic>,
    pub(super) origins: Vec<Span>,
}

impl BuildPlan {
    /// Returns the words of the Dockerfile that an origin of this plan's graph stands for.
    #[must_use]
    pub fn span(&self, origin: Origin) -> Span {
        let index = usize::try_from(origin.0).expect("a usize holds 32 bits on every platform with namespaces");
        self.origins[index]
    }
}

/// One line of the image's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryItem {
    /// What made the line, as BuildKit writes it.
    pub created_by: String,
    /// A remark.
    pub comment: Option<String>,
    /// The author at that time.
    pub author: Option<String>,
    /// What makes its layer; `None` if there is no layer.
    pub node: Option<NodeId>,
}

/// One step as the user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it does. Steps that do the same on the same inputs have the same node.
    pub node: NodeId,
    /// In which stage.
    pub stage: StageLabel,
    /// Its number in the stage, from 1.
    pub number: usize,
    /// How many steps the stage has.
    pub of: usize,
    /// The platform of its stage: the one that its commands are made for.
    pub platform: Platform,
    /// Another platform that its stage makes something for: the target's, where an `ARG` has asked for it.
    pub makes_for: Option<Platform>,
    /// The instruction as it was written, on one line.
    pub title: String,
    /// Where it was written.
    pub span: Span,
    /// What a command of its stage would see after it; nothing for a command, which says so itself.
    pub world: Option<Box<StepWorld>>,
    /// The variables that its words may use. Steps between which no variable changes have it in common.
    pub scope: Arc<Scope>,
}

/// What commands of a stage see beside its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepWorld {
    /// Environment as `NAME=value`.
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// Who runs it, as written in `USER`; empty is root.
    pub user: String,
}

/// The variables that are in force at some place, in the order of their first definition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Names and values.
    pub variables: Vec<(String, String)>,
    /// Which of them are build arguments; all others are of `ENV`.
    pub args: BTreeSet<String>,
}

/// The name of a stage for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StageLabel {
    /// Its number in the file, from 0.
    pub index: usize,
    /// Its name as written, if it has one.
    pub name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T8: A193, A194.
    #[test]
    fn contexts_are_named_as_images_are_written_in_short() {
        for (name, expected) in [
            ("alpine", "alpine"),
            ("docker.io/library/alpine:latest", "alpine"),
            ("alpine:3.20", "alpine:3.20"),
            ("ghcr.io/a/b:latest", "ghcr.io/a/b"),
            ("Base", "base"),
            ("alpine::linux/arm64", "alpine::linux/arm64"),
        ] {
            assert_eq!(context_name(name), expected, "{name}");
        }
    }
}
