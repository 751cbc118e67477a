//! Everything that stave takes from its surroundings, read once and handed on as values.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stave_dockerfile::suggest::nearest;
use stave_engine::sandbox::rootless::{self, RootlessOptions};
use stave_engine::sandbox::{Launcher, SandboxError, Visitor};
use stave_engine::store::SizeLimit;
use stave_engine::{Cancel, Engine, Environment, HttpEnvironment, JOBS, Registries, Settings};

use crate::args::Global;
use crate::failure::Failure;
use crate::human;
use crate::signals::{self, Received};

/// An engine, and what the user does to stop it.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) signals: Received,
    /// What the user can do to have more ids, where there is something.
    pub(crate) ids_advice: Option<String>,
}

/// Whether a command starts processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processes {
    /// It does: steps, containers, or the unpacking of archives.
    Some,
    /// It does not.
    None,
    /// It does not, but it may look into a container that another command runs.
    Visitor,
}

/// Becomes root of a namespace where that is needed, starts what must be started before the first thread, and opens
/// the store.
pub(crate) fn open(global: &Global, processes: Processes) -> Result<Host, Failure> {
    let root = store_root(global)?;
    // Only from here, outside of a user namespace of our own, can it join one that another command of the user made.
    let visitor = match processes {
        Processes::Visitor => Some(Visitor::start().map_err(|error| Failure::environment(&error))?),
        Processes::None | Processes::Some => None,
    };
    let map = rootless::enter(&RootlessOptions::default()).map_err(|error| {
        let advice = "Run `stave doctor` to see what this host lacks.";
        Failure::environment(&error).with_hint(advice)
    })?;
    if global.debug {
        crate::print_error(&format!("debug: store {}, ids {map:?}\n", root.display()));
    }
    let launcher = match processes {
        Processes::None | Processes::Visitor => None,
        Processes::Some => Some(Launcher::start(JOBS).map_err(|error: SandboxError| Failure::environment(&error))?),
    };
    open_many_files();
    let cancel = Cancel::new();
    let signals = signals::watch(cancel.clone())
        .map_err(|error| Failure::environment(&error).within("cannot watch for signals"))?;
    let settings = Settings {
        root,
        launcher,
        visitor,
        user_namespace: in_user_namespace(),
        boot_id: boot_id()?,
        registries: registries(),
        ssh_agent: path_variable("SSH_AUTH_SOCK"),
        resolv_conf: "/etc/resolv.conf".into(),
        cdi_dirs: cdi_dirs()?,
        clock: since_1970,
        store_limit: store_limit()?,
        cancel,
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    let engine = Engine::open(settings).map_err(Failure::from)?;
    for lost in engine.take_lost().map_err(Failure::from)? {
        let name = crate::render::printable(&lost.name);
        crate::print_error(&format!(
            "warning: the {} `{name}` was not on the disk when the machine stopped, and is gone\n",
            lost.kind
        ));
    }
    Ok(Host { engine, signals, ids_advice: map.advice() })
}

/// Registries, and what the user does to stop what is done there. No store is opened and no namespace entered: files of
/// the user are written as the user.
pub(crate) struct Remote {
    pub(crate) registries: Registries,
    pub(crate) cancel: Cancel,
    signals: Received,
}

impl Remote {
    /// Reads the configuration of registries.
    pub(crate) fn open() -> Result<Self, Failure> {
        Self::open_insecure(&[])
    }

    /// The same, with these registries allowed to lack TLS or a good certificate.
    pub(crate) fn open_insecure(hosts: &[String]) -> Result<Self, Failure> {
        let cancel = Cancel::new();
        let signals = signals::watch(cancel.clone())
            .map_err(|error| Failure::environment(&error).within("cannot watch for signals"))?;
        Ok(Self { registries: Registries::with_insecure(&registries(), &cancel, hosts)?, cancel, signals })
    }

    /// The registries alone, with nobody who watches for signals.
    pub(crate) fn unwatched() -> Result<Registries, Failure> {
        Ok(Registries::open(&registries(), &Cancel::new())?)
    }

    /// Ends a command whose work may have been interrupted: what counts then is the signal.
    pub(crate) fn settled<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        match (result, self.signals.first()) {
            (Err(_), Some(signal)) if self.cancel.is_cancelled() => Err(Failure::interrupted(signal)),
            (result, _) => result,
        }
    }
}

/// Returns where devices are described: `STAVE_CDI_DIRS`, as `PATH` is written, else the specification's places.
fn cdi_dirs() -> Result<Vec<PathBuf>, Failure> {
    let Some(dirs) = std::env::var_os("STAVE_CDI_DIRS") else {
        return Ok(vec!["/etc/cdi".into(), "/var/run/cdi".into()]);
    };
    let dirs: Vec<PathBuf> = std::env::split_paths(&dirs).filter(|dir| !dir.as_os_str().is_empty()).collect();
    match dirs.iter().find(|dir| dir.is_relative()) {
        Some(relative) => Err(Failure::usage(format!(
            "the variable STAVE_CDI_DIRS has `{}`, expected absolute directories, joined by `:`",
            relative.display()
        ))),
        None => Ok(dirs),
    }
}

/// The variables that only stave has.
const OWN_VARIABLES: [&str; 4] = ["CDI_DIRS", "LOAD", "ROOT", "STORE_LIMIT"];

/// Returns a word on each variable whose name is nearly that of one of stave's.
pub(crate) fn misspelt_variables() -> Vec<String> {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut notes: Vec<String> = names.filter_map(|name| misspelt(&name)).collect();
    notes.sort_unstable();
    notes
}

fn misspelt(name: &str) -> Option<String> {
    let own = name.strip_prefix("STAVE_").filter(|own| !OWN_VARIABLES.contains(own))?;
    let near = nearest(own, OWN_VARIABLES)?;
    Some(format!("the variable {name} is none of stave's; a similar one is STAVE_{near}"))
}

/// Raises this process's limit of open files as far as it may: copies of several stages at once keep their layers open.
/// The launcher has started, so that steps have the limit that stave was started with.
fn open_many_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, the limit that there is has to do.
    let _raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Says how full the file system of a store is, and what to do about it.
pub(crate) fn space_advice(root: &Path) -> Option<String> {
    let place = root.ancestors().find(|place| place.exists())?;
    let space = rustix::fs::statvfs(place).ok()?;
    let (free, whole) = (space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize);
    let files = if space.f_files > 0 && space.f_favail == 0 { ", and no inodes" } else { "" };
    Some(format!(
        "The file system of the store `{}` has {} of {} free{files}. `stave store prune` removes what no image needs; \
         `--root` names a store elsewhere.",
        root.display(),
        human::size(free),
        human::size(whole)
    ))
}

/// Returns where the store is.
pub(crate) fn store_root(global: &Global) -> Result<PathBuf, Failure> {
    let chosen = global.root.clone().or_else(|| path_variable("STAVE_ROOT"));
    let root = match chosen {
        Some(root) => root,
        None if rustix::process::geteuid().is_root() => "/var/lib/stave".into(),
        None => {
            let data = path_variable("XDG_DATA_HOME").filter(|path| path.is_absolute());
            let home = || path_variable("HOME").map(|home| home.join(".local/share"));
            data.or_else(home)
                .ok_or_else(|| {
                    Failure::usage("there is no place for the store: neither HOME nor XDG_DATA_HOME is set")
                        .with_hint("Name one with `--root` or the variable STAVE_ROOT.")
                })?
                .join("stave")
        }
    };
    std::path::absolute(&root).map_err(|error| Failure::environment(&error).within("cannot find the current directory"))
}

/// Returns the limit of the store's size that the caller gives, if it does.
fn store_limit() -> Result<SizeLimit, Failure> {
    let Some(text) = text_variable("STAVE_STORE_LIMIT") else { return Ok(SizeLimit::Recorded) };
    let limit = crate::args::size_limit(&text)
        .map_err(|error| Failure::usage(format!("the variable STAVE_STORE_LIMIT: {error}")))?;
    Ok(SizeLimit::Given(limit.0))
}

/// Returns a variable that is set, be it by the flag that stands for it.
pub(crate) fn raw_variable(name: &str) -> Option<OsString> {
    match DOCKER_CONFIG.get() {
        Some(directory) if name == "DOCKER_CONFIG" => Some(directory.clone().into_os_string()),
        _ => env::var_os(name),
    }
}

fn variable(name: &str) -> Option<OsString> {
    raw_variable(name).filter(|value| !value.is_empty())
}

fn path_variable(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from)
}

/// Returns the text of a variable that is set and not empty.
pub(crate) fn text_variable(name: &str) -> Option<String> {
    variable(name).and_then(|value| value.into_string().ok())
}

fn first_of(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| text_variable(name))
}

/// What `--config` says.
static DOCKER_CONFIG: OnceLock<PathBuf> = OnceLock::new();

/// Has docker's own files be read in `directory`, whatever the variable says.
pub(crate) fn set_docker_config(directory: PathBuf) {
    DOCKER_CONFIG.get_or_init(|| directory);
}

/// Returns the folder of Docker's own files.
pub(crate) fn docker_folder() -> Option<PathBuf> {
    path_variable("DOCKER_CONFIG").or_else(|| Some(path_variable("HOME")?.join(".docker")))
}

fn registries() -> Environment {
    Environment {
        home: path_variable("HOME"),
        xdg_config_home: path_variable("XDG_CONFIG_HOME"),
        xdg_runtime_dir: path_variable("XDG_RUNTIME_DIR"),
        docker_config: path_variable("DOCKER_CONFIG"),
        docker_auth_config: text_variable("DOCKER_AUTH_CONFIG"),
        registry_auth_file: path_variable("REGISTRY_AUTH_FILE"),
        registries_conf: path_variable("CONTAINERS_REGISTRIES_CONF"),
        registry_sources: text_variable("BUILD_REGISTRY_SOURCES"),
        path: variable("PATH"),
        http: http_environment(),
    }
}

/// Returns how other machines are reached.
pub(crate) fn http_environment() -> HttpEnvironment {
    HttpEnvironment {
        ssl_cert_file: path_variable("SSL_CERT_FILE"),
        ssl_cert_dir: variable("SSL_CERT_DIR"),
        https_proxy: first_of(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
        http_proxy: first_of(&["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
        no_proxy: first_of(&["NO_PROXY", "no_proxy"]),
        etc: None,
    }
}

/// Returns the kernel's name for the time since it was started.
fn boot_id() -> Result<String, Failure> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::environment(&error).within(&format!("cannot read `{path}`")))?;
    Ok(text.trim().to_owned())
}

/// Whether ids here are not those of the host. Without `/proc` this is taken for a namespace, which is the safe guess.
pub(crate) fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().ne(["0", "0", "4294967295"])
}

/// Returns the seconds since 1970.
pub(crate) fn now() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

/// Returns the time since 1970.
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_nearly_a_known_name_is_told() {
        let note = "the variable STAVE_STORE_LIMT is none of stave's; a similar one is STAVE_STORE_LIMIT";
        assert_eq!(misspelt("STAVE_STORE_LIMT").as_deref(), Some(note));
        for other in ["STAVE_ROOT", "STAVE_BIN", "STAVE_STANDINS", "STORE_LIMT", "STAVE_"] {
            assert_eq!(misspelt(other), None, "{other}");
        }
    }
}
