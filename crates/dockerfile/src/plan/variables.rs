//! Variables and where they come from: global arguments, build arguments, platforms and proxies.

use stave_oci::Platform;

use super::PlanOptions;
use crate::ast::{Dockerfile, InstructionKind};

/// Variables in the order of their first definition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Variables {
    entries: Vec<(String, String)>,
    /// The names that an `ARG` declares without giving them a value.
    unset: Vec<String>,
    /// Whether there may be more that are not known yet: those of a base image that was only asked for.
    pub(crate) incomplete: bool,
}

impl Variables {
    pub(super) fn none() -> Self {
        Self { entries: Vec::new(), unset: Vec::new(), incomplete: false }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Defines a variable, in its old place if it had one.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.entries.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.entries.push((name.to_owned(), value.to_owned())),
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// Notes that an `ARG` declares a name and gives it no value.
    pub(super) fn declare(&mut self, name: &str) {
        if !self.unset.iter().any(|known| known == name) {
            self.unset.push(name.to_owned());
        }
    }

    /// Whether an `ARG` declares a name that has no value.
    pub(crate) fn is_unset(&self, name: &str) -> bool {
        self.get(name).is_none() && self.unset.iter().any(|known| known == name)
    }

    /// Returns the names that have a value, then those that are only declared.
    pub(crate) fn declared(&self) -> impl Iterator<Item = &str> {
        self.names().chain(self.unset.iter().map(String::as_str))
    }

    pub(super) fn entries(&self) -> &[(String, String)] {
        &self.entries
    }

    /// Returns about how much memory a copy takes.
    pub(crate) fn bytes(&self) -> usize {
        let unset: usize = self.unset.iter().map(|name| size_of_val(name) + name.len()).sum();
        let set: usize = self.entries.iter().map(|entry| size_of_val(entry) + entry.0.len() + entry.1.len()).sum();
        unset + set
    }

    pub(super) fn to_environment(&self) -> Vec<String> {
        self.entries.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// Returns the variables that every file has in `FROM` lines, and in stages that declare them: the platforms, and the
/// name of what is built.
pub(super) fn predefined(file: &Dockerfile, options: &PlanOptions) -> Variables {
    let mut variables = Variables::none();
    let mut define = |name: &str, value: &str| {
        let value = options.build_args.get(name).map_or(value, String::as_str);
        variables.set(name, value);
    };
    for (prefix, platform) in [("BUILD", &options.build_platform), ("TARGET", &options.platform)] {
        let Platform { architecture, os, os_version, variant } = platform;
        define(&format!("{prefix}PLATFORM"), &platform.to_string());
        define(&format!("{prefix}OS"), os);
        define(&format!("{prefix}OSVERSION"), os_version.as_deref().unwrap_or_default());
        define(&format!("{prefix}ARCH"), architecture);
        define(&format!("{prefix}VARIANT"), variant.as_deref().unwrap_or_default());
    }
    let last = || file.stages.last()?.name.as_ref().map(|name| name.name.clone());
    let stage = options.target.clone().or_else(last).unwrap_or_else(|| "default".to_owned());
    define("TARGETSTAGE", &stage);
    variables
}

/// The five proxies, in lower case. They reach `RUN` without a declaration and without changing a cache key.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// Returns the environment of the proxies that are given as build arguments, in both spellings, without those that
/// have the same value in `declared`. A step has these values in the place of others.
///
/// Reference: BuildKit, `solver/llbsolver/ops/exec.go`, `proxyEnvList`.
pub(super) fn proxies(options: &PlanOptions, declared: &Variables) -> Vec<String> {
    let mut environment = Vec::new();
    for proxy in PROXIES {
        let given = options.build_args.iter().rfind(|(name, _)| name.eq_ignore_ascii_case(proxy));
        let Some((_, value)) = given else { continue };
        for name in [proxy.to_ascii_uppercase(), proxy.to_owned()] {
            if declared.get(&name) != Some(value) {
                environment.push(format!("{name}={value}"));
            }
        }
    }
    environment
}

/// Arguments that configure the scan for a bill of materials; they never reach a command.
pub(crate) fn is_hidden(name: &str) -> bool {
    matches!(name, "BUILDKIT_SBOM_SCAN_CONTEXT" | "BUILDKIT_SBOM_SCAN_STAGE")
}

/// Returns the build arguments that no `ARG` of the file declares and that mean nothing by themselves.
pub(super) fn unused_build_args(file: &Dockerfile, options: &PlanOptions, predefined: &Variables) -> Vec<String> {
    let instructions = file.global_args.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions));
    let declared: Vec<&str> = instructions
        .filter_map(|instruction| match &instruction.kind {
            InstructionKind::Arg(declarations) => Some(declarations),
            _ => None,
        })
        .flatten()
        .map(|declaration| declaration.name.as_str())
        .collect();
    let known = |name: &str| {
        declared.contains(&name)
            || predefined.get(name).is_some()
            || name == "SOURCE_DATE_EPOCH"
            || name.starts_with("BUILDKIT_")
            || PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
    };
    options.build_args.keys().filter(|name| !known(name)).cloned().collect()
}
