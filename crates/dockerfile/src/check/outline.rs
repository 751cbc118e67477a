//! What a build takes, as `--call=outline` lists it: arguments, secrets, agents, caches of the stages that the target
//! needs.

use std::collections::{BTreeMap, BTreeSet};

use super::targets::description;
use super::words::{text, word};
use crate::ast::{
    ArgDeclaration, Dockerfile, FlagName, Head, Instruction, InstructionKind, Mount, MountKey, MountOption, Pairs,
};
use crate::diagnostic::Diagnostic;
use crate::plan::{Needed, PlanOptions, Variables, needed_stages};
use crate::span::Span;

/// What the target takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The target's name, if it has one.
    pub name: Option<String>,
    /// What the comment above it says about it.
    pub description: Option<String>,
    /// The arguments that its stages use, in the order of the file.
    pub args: Vec<Arg>,
    /// The secrets that its steps can see.
    pub secrets: Vec<Mounted>,
    /// The agents that its steps can ask.
    pub ssh: Vec<Mounted>,
    /// The caches that its steps share.
    pub caches: Vec<Mounted>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// What the comment above its declaration says about it.
    pub description: Option<String>,
    /// Its value in this build; nothing if it has none.
    pub value: Option<String>,
    /// All of the `ARG` that declares it.
    pub span: Span,
}

/// Something that a mount asks for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Its id.
    pub id: String,
    /// Whether a step fails without it.
    pub required: bool,
    /// All of the instruction that first asks for it.
    pub span: Span,
}

/// Lists what the target of `options` takes. Values that come from a base image are not known here, and are empty.
///
/// # Errors
/// What is wrong with the names of the file's stages, or with the target.
pub fn outline(file: &Dockerfile, options: &PlanOptions) -> Result<Outline, Vec<Diagnostic>> {
    let Needed { globals, parents, stages, target } = needed_stages(file, options)?;
    let mut listing = Listing {
        file,
        options,
        globals: &globals,
        used: BTreeSet::new(),
        args: BTreeMap::new(),
        mounts: BTreeMap::new(),
        variables: BTreeMap::new(),
        bytes: 0,
    };
    // In the order of the file: of several declarations of one name the target's counts, which is the last.
    for &index in &stages {
        listing.from(index);
        listing.stage(index, parents.get(&index).copied());
    }
    listing.globals();
    let Listing { args, mounts, .. } = listing;
    let mut args: Vec<Arg> = args.into_values().collect();
    args.sort_by_key(|arg| (arg.span, arg.name.clone()));
    let mut kinds: [Vec<Mounted>; 3] = Default::default();
    for ((kind, _), mounted) in mounts {
        kinds[kind as usize].push(mounted);
    }
    for kind in &mut kinds {
        kind.sort_by_key(|mounted| (mounted.span, mounted.id.clone()));
    }
    let [secrets, ssh, caches] = kinds;
    let stage = &file.stages[target];
    let name = stage.name.as_ref().map(|name| name.name.clone());
    let description = name.as_ref().and_then(|name| description(&stage.head.comments, name));
    Ok(Outline { name, description, args, secrets, ssh, caches })
}

/// The mounts that have an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Secret,
    Ssh,
    Cache,
}

/// Most bytes that are put into variables, of all stages. The plan of a build has the same limit.
const VARIABLES_BYTES_MAX: usize = 32 * 1024 * 1024;

struct Listing<'a> {
    file: &'a Dockerfile,
    options: &'a PlanOptions,
    globals: &'a Variables,
    /// The arguments before the first `FROM` that something uses.
    used: BTreeSet<String>,
    args: BTreeMap<String, Arg>,
    mounts: BTreeMap<(Kind, String), Mounted>,
    /// The variables at the end of each stage.
    variables: BTreeMap<usize, Variables>,
    /// How much was put into variables.
    bytes: usize,
}

impl Listing<'_> {
    fn from(&mut self, index: usize) {
        let stage = &self.file.stages[index];
        let platform = stage.head.flag(FlagName::Platform).map(|flag| &flag.value);
        for part in platform.into_iter().chain([&stage.base]) {
            self.used.extend(word(part, self.file.escape, self.globals).into_iter().flat_map(|word| word.asked));
        }
    }

    fn stage(&mut self, index: usize, parent: Option<usize>) {
        let mut variables = parent.and_then(|parent| self.variables.get(&parent)).cloned().unwrap_or_default();
        self.bytes = self.bytes.saturating_add(variables.bytes());
        let file = self.file;
        for Instruction { head, kind } in &file.stages[index].instructions {
            match kind {
                InstructionKind::Arg(declarations) => {
                    for declaration in declarations {
                        self.arg(head, declaration, &mut variables);
                    }
                }
                InstructionKind::Env(pairs) => self.env(pairs, &mut variables),
                InstructionKind::Run(run) => {
                    for mount in &run.mounts {
                        self.mount(head, mount, &variables);
                    }
                }
                _ => {}
            }
        }
        self.variables.insert(index, variables);
    }

    fn arg(&mut self, head: &Head, declaration: &ArgDeclaration, variables: &mut Variables) {
        let Some(name) = text(&declaration.name, self.file.escape, variables) else { return };
        let value = match (self.options.build_args.get(&name), &declaration.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => text(default, self.file.escape, variables),
            (None, None) => {
                if let Some(value) = self.globals.get(&name) {
                    self.define(variables, &name, value);
                    self.used.insert(name);
                    return;
                }
                None
            }
        };
        if let Some(value) = &value {
            self.define(variables, &name, value);
        }
        self.list(head, name, value);
    }

    /// All words of an `ENV` see the variables from before it.
    fn env(&mut self, pairs: &Pairs, variables: &mut Variables) {
        let expanded = |word| text(word, self.file.escape, variables);
        let pairs: Vec<(String, String)> =
            pairs.pairs.iter().filter_map(|pair| expanded(&pair.name).zip(expanded(&pair.value))).collect();
        for (name, value) in pairs {
            self.define(variables, &name, &value);
        }
    }

    /// Defines a variable, unless the file is one that would fill the memory.
    fn define(&mut self, variables: &mut Variables, name: &str, value: &str) {
        self.bytes = self.bytes.saturating_add(name.len() + value.len());
        if self.bytes <= VARIABLES_BYTES_MAX {
            variables.set(name, value);
        }
    }

    fn list(&mut self, head: &Head, name: String, value: Option<String>) {
        let description = description(&head.comments, &name);
        self.args.insert(name.clone(), Arg { name, description, value, span: head.span });
    }

    /// Lists the arguments before the first `FROM` that are used, and those that their defaults use.
    fn globals(&mut self) {
        let file = self.file;
        for Instruction { head, kind } in file.global_args.iter().rev() {
            let InstructionKind::Arg(declarations) = kind else { continue };
            for ArgDeclaration { name, default } in declarations.iter().rev() {
                let name = name.as_str();
                if !self.used.contains(name) || self.args.contains_key(name) {
                    continue;
                }
                if let Some(default) = default {
                    let asked = word(default, file.escape, self.globals).map(|word| word.asked);
                    self.used.extend(asked.unwrap_or_default());
                }
                self.list(head, name.to_owned(), self.globals.get(name).map(str::to_owned));
            }
        }
    }

    fn mount(&mut self, head: &Head, mount: &Mount, variables: &Variables) {
        let find = |key| mount.options.iter().rfind(|option| option.key == key);
        let expanded = |option: &MountOption| text(option.value.as_ref()?, self.file.escape, variables);
        let value = |key| find(key).and_then(expanded).filter(|value| !value.is_empty());
        let target = value(MountKey::Target);
        let base_name = || target.as_ref()?.rsplit('/').next().map(str::to_owned);
        let (kind, id) = match value(MountKey::Type).as_deref() {
            Some("secret") => (Kind::Secret, value(MountKey::Id).or_else(base_name)),
            Some("ssh") => (Kind::Ssh, Some(value(MountKey::Id).unwrap_or_else(|| "default".to_owned()))),
            Some("cache") => (Kind::Cache, value(MountKey::Id).or_else(|| target.clone())),
            _ => return,
        };
        let required =
            find(MountKey::Required).is_some_and(|option| expanded(option).is_none_or(|text| text == "true"));
        if let Some(id) = id {
            let mounted = Mounted { id: id.clone(), required, span: head.span };
            self.mounts.entry((kind, id)).or_insert(mounted);
        }
    }
}
