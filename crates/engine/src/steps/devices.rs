//! `RUN --device`: devices of the host, by the names that the Container Device Interface gives them.
//!
//! Reference: CNCF Container Device Interface 0.8.0, `SPEC.md`; BuildKit, `docs/cdi.md`.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stave_graph::Device;
use stave_sandbox::{MountSource, StepMount};
use stave_tree::limits::{DEVICE_FILE_BYTES_MAX, DEVICE_FILES_MAX};

use crate::error::EngineError;

/// What devices bring along.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    pub(crate) mounts: Vec<StepMount>,
    pub(crate) env: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
struct Spec {
    /// `vendor.com/class`.
    kind: String,
    #[serde(default)]
    devices: Vec<Named>,
    #[serde(default, rename = "containerEdits")]
    edits: Edits,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
    #[serde(default, rename = "containerEdits")]
    edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Bind>,
    hooks: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: String,
    host_path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bind {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
}

/// Returns what the devices that a command names bring along, as files of `directories` describe them. One that is not
/// there is noted, or an error if it is required.
pub(crate) fn find(directories: &[PathBuf], devices: &[Device], note: &dyn Fn(&str)) -> Result<Devices, EngineError> {
    let mut found = Devices::default();
    if devices.is_empty() {
        return Ok(found);
    }
    let specs = read(directories)?;
    let mut used = BTreeSet::new();
    for device in devices {
        // `vendor.com/class` alone is every device of the class.
        let (kind, name) = device.name.split_once('=').map_or((&*device.name, None), |(kind, name)| (kind, Some(name)));
        let mut is_there = false;
        for (index, spec) in specs.iter().enumerate().filter(|(_, spec)| spec.kind == kind) {
            for one in spec.devices.iter().filter(|one| name.is_none_or(|name| name == one.name || name == "*")) {
                is_there = true;
                // What a whole description adds comes once, before its first device.
                for (part, edits) in [("", &spec.edits), (one.name.as_str(), &one.edits)] {
                    let edits = used.insert((index, part)).then_some(edits);
                    edits.map(|edits| found.add(edits, &device.name)).transpose()?;
                }
            }
        }
        match (is_there, device.required) {
            (true, _) => {}
            (false, true) => {
                let places: Vec<String> = directories.iter().map(|place| format!("`{}`", place.display())).collect();
                let hint = format!("Devices are described in files `*.json` and `*.yaml` of {}.", places.join(" or "));
                return Err(EngineError::request(format!("there is no device `{}`", device.name), Some(&hint)));
            }
            (false, false) => note(&format!("there is no device `{}`, so the step runs without it", device.name)),
        }
    }
    Ok(found)
}

impl Devices {
    fn add(&mut self, edits: &Edits, device: &str) -> Result<(), EngineError> {
        if !edits.hooks.is_empty() {
            // A hook is a program that would run on the host.
            let message = format!("device `{device}` needs programs to run on the host, which stave does not do");
            return Err(EngineError::request(message, None));
        }
        for entry in &edits.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.env.push((name.to_owned(), value.to_owned()));
        }
        for node in &edits.device_nodes {
            let path = node.host_path.clone().unwrap_or_else(|| node.path.clone());
            self.mounts.push(StepMount::new(node.path.clone(), MountSource::Device { path }));
        }
        for bind in &edits.mounts {
            let writable = bind.options.iter().any(|option| option == "rw");
            let source = MountSource::Host { path: bind.host_path.clone(), writable };
            self.mounts.push(StepMount::new(bind.container_path.clone(), source));
        }
        Ok(())
    }
}

fn read(directories: &[PathBuf]) -> Result<Vec<Spec>, EngineError> {
    let mut specs = Vec::new();
    for directory in directories {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let paths: Vec<_> = paths.iter().filter_map(|path| Some((path, Format::of(path)?))).collect();
        if paths.len() > DEVICE_FILES_MAX {
            let message = format!(
                "`{}` has {} descriptions of devices, and {DEVICE_FILES_MAX} are the most",
                directory.display(),
                paths.len()
            );
            return Err(EngineError::request(message, None));
        }
        for (path, format) in paths {
            let failed = |source| EngineError::io("read the devices in", path, source);
            // A pipe would be waited for.
            if !path.metadata().map_err(failed)?.is_file() {
                return Err(failed(std::io::Error::other("it is no file")));
            }
            let mut text = Vec::new();
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(DEVICE_FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
            if text.len() as u64 > DEVICE_FILE_BYTES_MAX {
                return Err(failed(std::io::Error::other(format!("it is longer than {DEVICE_FILE_BYTES_MAX} bytes"))));
            }
            let spec = match format {
                Format::Json => serde_json::from_slice(&text).map_err(std::io::Error::from),
                Format::Yaml => serde_saphyr::from_slice(&text).map_err(std::io::Error::other),
            };
            specs.push(spec.map_err(failed)?);
        }
    }
    Ok(specs)
}

/// How a description is written.
enum Format {
    Json,
    Yaml,
}

impl Format {
    /// Returns the format of the descriptions with such a name. Other files are none.
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = r#"{
        "cdiVersion": "0.6.0", "kind": "vendor1.com/device",
        "containerEdits": { "env": ["ALL=yes"] },
        "devices": [
            { "name": "foo", "containerEdits": { "env": ["FOO=injected"], "deviceNodes": [{ "path": "/dev/foo", "hostPath": "/dev/null" }] } },
            { "name": "bar", "containerEdits": { "mounts": [{ "hostPath": "/opt", "containerPath": "/opt/bar", "options": ["ro"] }] } }
        ]
    }"#;

    fn device(name: &str, required: bool) -> Device {
        Device { name: name.to_owned(), required }
    }

    #[test]
    fn a_device_brings_its_nodes_variables_and_mounts() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        std::fs::write(directory.path().join("vendor1.json"), SPEC).expect("it can be written");
        let quiet = |_: &str| {};
        let find = |devices: &[Device]| find(&[directory.path().to_owned()], devices, &quiet);
        let foo = find(&[device("vendor1.com/device=foo", true)]).expect("it is there");
        assert_eq!(foo.env, [("ALL".into(), "yes".into()), ("FOO".into(), "injected".into())]);
        assert_eq!(foo.mounts.len(), 1);
        assert_eq!(foo.mounts[0].target, "/dev/foo");
        assert!(matches!(&foo.mounts[0].source, MountSource::Device { path } if path == "/dev/null"));
        let both =
            find(&[device("vendor1.com/device", true), device("vendor1.com/device=foo", true)]).expect("both are");
        assert_eq!((both.mounts.len(), both.env.len()), (2, 2));
        assert!(matches!(&both.mounts[1].source, MountSource::Host { path, writable: false } if path == "/opt"));
        let error = find(&[device("vendor1.com/device=none", true)]).expect_err("there is none");
        assert_eq!(error.to_string(), "there is no device `vendor1.com/device=none`");
        assert!(find(&[device("vendor2.com/device", false)]).expect("it is not needed").mounts.is_empty());
    }
    #[test]
    fn a_description_may_be_yaml() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let spec = "cdiVersion: 0.6.0\nkind: vendor2.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n    env:\n    - \
                    NO=off\n    deviceNodes:\n    - path: /dev/gpu0\n      hostPath: /dev/zero\n";
        std::fs::write(directory.path().join("gpu.yaml"), spec).expect("it can be written");
        std::fs::write(directory.path().join("README"), "no description").expect("it can be written");
        let directories = [directory.path().to_owned()];
        let found = find(&directories, &[device("vendor2.com/gpu=0", true)], &|_| {}).expect("it is there");
        assert_eq!(found.env, [("NO".into(), "off".into())]);
        assert!(matches!(&found.mounts[0].source, MountSource::Device { path } if path == "/dev/zero"));
        std::fs::write(directory.path().join("wrong.yml"), "kind: [").expect("it can be written");
        let error = find(&directories, &[device("vendor2.com/gpu=0", true)], &|_| {}).expect_err("one is wrong");
        assert!(error.to_string().contains("wrong.yml"), "{error}");
    }

    /// A102: what somebody wrote to do harm is an error in a moment, whatever it would become.
    #[test]
    fn a_hostile_description_is_an_error() {
        let mut laughs = "kind: v.com/c\na: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for letter in b'b'..=b'z' {
            let below = format!("*{},", char::from(letter - 1)).repeat(9);
            let this = char::from(letter);
            laughs.extend([format!("{this}: &{this} [{below}]\n")]);
        }
        laughs.push_str("devices: *z\n");
        let hostile: Vec<(&str, Vec<u8>)> = vec![
            ("laughs.yaml", laughs.into_bytes()),
            ("deep.yaml", format!("kind: v.com/c\ndevices: {}", "[".repeat(500_000)).into_bytes()),
            ("deep.json", format!("{{\"kind\": \"v.com/c\", \"devices\": {}", "[".repeat(500_000)).into_bytes()),
            ("long.yaml", vec![b'a'; usize::try_from(DEVICE_FILE_BYTES_MAX).expect("small") + 1]),
            ("bytes.yaml", b"kind: \xff\xfe\x00".to_vec()),
            ("kind.yaml", b"kind: [v.com/c]\n".to_vec()),
            ("circle.yaml", b"kind: v.com/c\ndevices: &a [*a]\n".to_vec()),
            ("tag.yaml", b"kind: v.com/c\ndevices: !!python/object:os.system [x]\n".to_vec()),
            ("empty.yaml", Vec::new()),
        ];
        for (name, text) in hostile {
            let directory = tempfile::tempdir().expect("a temporary directory can be made");
            std::fs::write(directory.path().join(name), text).expect("it can be written");
            let found = find(&[directory.path().to_owned()], &[device("v.com/c=x", true)], &|_| {});
            let error = found.expect_err(name).to_string();
            assert!(error.contains(name) || error.contains("there is no device"), "{name}: {error}");
        }
    }
}
