//! What a build takes from variables of the environment and from Docker's configuration file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;
use serde::Deserialize;
use stave_oci::Platform;

use crate::args::{ProgressMode, VariableArg};
use crate::failure::Failure;

/// Name of the variable, and of the build argument, that sets the time.
pub(super) const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The variables, as a function, so that a test can bring its own.
pub(in crate::command) struct Surroundings<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl<'a> Surroundings<'a> {
    /// Returns the surroundings with these variables.
    pub(in crate::command) fn new(variable: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { variable }
    }

    /// Returns the bytes of a variable that is set.
    pub(super) fn bytes(&self, name: &str) -> Option<OsString> {
        // The system knows no such names, and asking for one is an error.
        if name.is_empty() || name.contains(['=', '\0']) { None } else { (self.variable)(name) }
    }

    /// Returns the text of a variable that is set and not empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.bytes(name).and_then(|value| value.into_string().ok()).filter(|text| !text.is_empty())
    }

    /// Returns the progress mode that `BUILDKIT_PROGRESS` chooses.
    pub(super) fn progress(&self) -> Result<ProgressMode, Failure> {
        let Some(text) = self.text("BUILDKIT_PROGRESS") else { return Ok(ProgressMode::Auto) };
        ProgressMode::from_str(&text, false).map_err(|_| {
            Failure::usage(format!("the variable BUILDKIT_PROGRESS is `{text}`"))
                .with_hint("It may be `auto`, `tty`, `plain`, `rawjson`, `quiet` or `none`.")
        })
    }

    /// Whether `BUILDX_METADATA_WARNINGS` asks for findings in `--metadata-file`, as in buildx.
    pub(super) fn wants_warnings(&self) -> bool {
        self.text("BUILDX_METADATA_WARNINGS").is_some_and(|value| matches!(&*value, "1" | "true"))
    }

    /// Returns the platforms that were asked for, each once, by option or else by `DOCKER_DEFAULT_PLATFORM`.
    pub(super) fn platforms(&self, given: &[String]) -> Result<Vec<Platform>, Failure> {
        let default = self.text("DOCKER_DEFAULT_PLATFORM");
        let (texts, source) = match default {
            Some(text) if given.is_empty() => (vec![text], "the variable DOCKER_DEFAULT_PLATFORM"),
            _ => (given.to_vec(), "`--platform`"),
        };
        if texts.len() > 1 && texts.iter().any(String::is_empty) {
            return Err(Failure::usage(format!(
                "{source} is `{}`: a platform is missing beside a comma",
                texts.join(",")
            )));
        }
        let mut platforms: Vec<Platform> = Vec::new();
        for text in texts.iter().map(String::as_str).filter(|text| !text.is_empty()) {
            let platform = match text {
                "local" => Platform::host(),
                text => text.parse().map_err(|error| Failure::usage(format!("{source} is `{text}`: {error}")))?,
            };
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        Ok(platforms)
    }

    /// Returns the values of `ARG`s: those of the command line, of files, of the environment, and at last the proxies
    /// of Docker's configuration, of which none replaces what was said before.
    pub(in crate::command) fn build_args(
        &self,
        given: &[VariableArg],
        files: &[PathBuf],
    ) -> Result<BTreeMap<String, String>, Failure> {
        let mut values = BTreeMap::new();
        for file in files {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", file.display())))?;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let variable = line
                    .parse()
                    .map_err(|error| Failure::usage(format!("line {} of `{}`: {error}", number + 1, file.display())))?;
                self.define(&mut values, variable);
            }
        }
        for variable in given {
            self.define(&mut values, variable.clone());
        }
        if let Some(epoch) = self.text(SOURCE_DATE_EPOCH) {
            values.entry(SOURCE_DATE_EPOCH.to_owned()).or_insert(epoch);
        }
        for (name, value) in self.proxies()? {
            // Whoever gives one in either case means both.
            if values.keys().any(|given| given.eq_ignore_ascii_case(name)) {
                continue;
            }
            for name in [name.to_owned(), name.to_ascii_lowercase()] {
                values.entry(name).or_insert_with(|| value.clone());
            }
        }
        Ok(values)
    }

    /// Sets a variable; one without a value is the environment's, and nothing if that has none.
    fn define(&self, values: &mut BTreeMap<String, String>, variable: VariableArg) {
        let inherited = || self.bytes(&variable.name).and_then(|value| value.into_string().ok());
        if let Some(value) = variable.value.clone().or_else(inherited) {
            values.insert(variable.name, value);
        }
    }

    /// Returns the directory of Docker's configuration.
    pub(super) fn docker_directory(&self) -> Option<PathBuf> {
        let directory = self.bytes("DOCKER_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        directory.or_else(|| self.bytes("HOME").map(|home| PathBuf::from(home).join(".docker")))
    }

    /// Returns the proxies that Docker's configuration sets for all builds.
    ///
    /// Reference: docker/cli, `ConfigFile.ParseProxyConfig`. There is no daemon here, so only the default counts.
    fn proxies(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let Some(file) = self.docker_directory().map(|directory| directory.join("config.json")) else {
            return Ok(Vec::new());
        };
        match std::fs::read(&file) {
            Ok(bytes) => proxies_of(&bytes, &file),
            // A file that cannot be read is told about when a registry needs it.
            Err(_) => Ok(Vec::new()),
        }
    }
}

/// What is read of Docker's configuration.
#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerConfig {
    proxies: BTreeMap<String, Proxies>,
}

impl DockerConfig {
    fn default_proxies(mut self) -> Option<Proxies> {
        self.proxies.remove("default")
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Proxies {
    #[serde(rename = "httpProxy")]
    http: String,
    #[serde(rename = "httpsProxy")]
    https: String,
    #[serde(rename = "noProxy")]
    no: String,
    #[serde(rename = "ftpProxy")]
    ftp: String,
    #[serde(rename = "allProxy")]
    all: String,
}

fn proxies_of(bytes: &[u8], file: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
    let config: DockerConfig = serde_json::from_slice(bytes)
        .map_err(|error| Failure::environment(&error).within(&format!("cannot use `{}`", file.display())))?;
    let Some(Proxies { http, https, no, ftp, all }) = config.default_proxies() else { return Ok(Vec::new()) };
    let named =
        [("HTTP_PROXY", http), ("HTTPS_PROXY", https), ("NO_PROXY", no), ("FTP_PROXY", ftp), ("ALL_PROXY", all)];
    Ok(named.into_iter().filter(|(_, value)| !value.is_empty()).collect())
}
