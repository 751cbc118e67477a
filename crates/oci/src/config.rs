//! The image configuration: how to run an image, what it is made of and how it came to be.
//!
//! Fields that Docker adds to the OCI specification (health check, shell, triggers) are fields here too, and
//! fields that nobody here knows are kept, so that a base image loses nothing on its way through stave.
//!
//! Reference: OCI image-spec 1.1, `config.md`; Docker Image Specification v1.2.

#![expect(clippy::zero_sized_map_values, reason = "this is how the format writes a set")]

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::DiffId;
use crate::platform::Platform;

/// An empty JSON object: the values of `ExposedPorts` and `Volumes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// A set of names, as the format writes one: an object whose values are empty objects.
pub type Names = BTreeMap<String, Empty>;

/// `null` stands for an empty value in many configurations that Go programs wrote.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// An image's configuration document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When the image was made, as RFC 3339 text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who is responsible for the image (`MAINTAINER`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The processor's architecture.
    #[serde(default)]
    pub architecture: String,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The operating system.
    #[serde(default)]
    pub os: String,
    /// Version of the operating system; used by Windows only.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// How to run a container from the image.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: RunConfig,
    /// The layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// One entry for each instruction, oldest first.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Everything else that the document said.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl ImageConfig {
    /// Returns the platform that the image is for.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            variant: self.variant.clone(),
        }
    }
}

/// How to run a container from an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user`, `uid`, `user:group` or `uid:gid`; empty is root.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports as `80/tcp`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: Names,
    /// Variables as `NAME=value`, in the order of their definition.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The command's first words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The command, or the arguments of the entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// How to tell whether a container is well (Docker's extension).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Whether the arguments are escaped already (Windows only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args_escaped: Option<bool>,
    /// Paths that are volumes.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: Names,
    /// Where the command starts.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Triggers for images built on this one (Docker's extension).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Labels.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the command to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Shell of the shell forms (Docker's extension).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Everything else that the document said.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl RunConfig {
    /// Returns the value of the variable `name`, if it is defined.
    #[must_use]
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Defines the variable `name`, in its old place if it had one.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let same = |old: &&mut String| old.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        match self.env.iter_mut().find(same) {
            Some(old) => *old = entry,
            None => self.env.push(entry),
        }
    }
}

/// A health check. Durations are nanoseconds; zero or absent inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", arguments...]` or `["CMD-SHELL", command]`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between two checks, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<i64>,
    /// Time after which a check has failed, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// Time in which failures don't count, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<i64>,
    /// Time between two checks during the start period, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<i64>,
    /// Failures in a row after which a container is unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<i64>,
}

/// The layers of an image, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "RootFs::layers")]
    pub kind: String,
    /// Digests of the uncompressed layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<DiffId>,
}

impl RootFs {
    fn layers() -> String {
        "layers".to_owned()
    }
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: Self::layers(), diff_ids: Vec::new() }
    }
}

/// One line of an image's history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When the step was made, as RFC 3339 text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// What made the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// The author at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A free remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the step made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives_reading_and_writing() {
        let text = r#"{"created":"2016-10-20T00:00:00Z","architecture":"amd64","os":"linux","config":{"User":"1","ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"Cmd":["sh"],"Healthcheck":{"Test":["CMD","true"],"Retries":3},"OnBuild":["RUN x"],"Labels":{"b":"2","a":"1"},"Shell":["/bin/sh","-c"],"Hostname":"h"},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"x","empty_layer":true}],"container":"c"}"#;
        let config: ImageConfig = serde_json::from_str(text).expect("the text is a configuration");
        let written: serde_json::Value = serde_json::to_value(&config).expect("a configuration is JSON");
        let original: serde_json::Value = serde_json::from_str(text).expect("the text is JSON");
        assert_eq!(written, original);
    }

    #[test]
    fn null_is_read_as_nothing() {
        let text = r#"{"config":{"Env":null,"Volumes":null,"Entrypoint":null,"OnBuild":null},"rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
        let config: ImageConfig = serde_json::from_str(text).expect("the text is a configuration");
        assert_eq!(config, ImageConfig::default());
    }

    #[test]
    fn redefining_a_variable_keeps_its_place() {
        let mut config = RunConfig { env: vec!["A=1".into(), "AB=2".into()], ..RunConfig::default() };
        config.set_env("A", "3");
        config.set_env("C", "4");
        assert_eq!(config.env, ["A=3", "AB=2", "C=4"]);
        assert_eq!(config.env_value("AB"), Some("2"));
        assert_eq!(config.env_value("B"), None);
    }
}
