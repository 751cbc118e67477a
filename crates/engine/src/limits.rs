//! Limits of memory, processors and processes, by groups of the kernel's.
//!
//! Turns limits into a group that the processes of a launcher are in, whichever version of groups this machine has. It knows
//! no container and no step: whoever enters a group enters it with all that the launcher starts from then on.
//!
//! Reference: Linux, `Documentation/admin-guide/cgroup-v1` and `cgroup-v2.rst`; control groups' conversion of `cpu.shares`
//! to `cpu.weight` as in crun.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::EngineError;

/// Begins the names of our groups.
const PREFIX: &str = "stave-";
/// The period that a share of processors is given for, unless another is asked for: 100 ms.
const CPU_PERIOD: u64 = 100_000;
/// Times that a group is tried to be removed, whose last processes are still ending.
const REMOVALS_MAX: u32 = 50;
const HINT: &str = "Start stave inside a limit instead: `systemd-run --scope -p MemoryMax=1G stave ...`.";

/// Limits that are held together by all processes of a container or a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SharedLimits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 is no limit.
    pub swap: Option<i64>,
    /// Microseconds of processor time in each period; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// Microseconds of a period.
    pub cpu_period: Option<u64>,
    /// How much of busy processors, compared with others; 1,024 is what everybody has.
    pub cpu_shares: Option<u64>,
    /// Which processors, as in `0-2,4`.
    pub cpus: Option<String>,
    /// Which nodes of memory, as in `0`.
    pub nodes: Option<String>,
    /// Processes and threads; -1 is no limit.
    pub processes: Option<i64>,
}

impl SharedLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns what is written where, for each controller that is needed.
    fn settings(&self, unified: bool) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
        let mut all = Vec::new();
        let period = self.cpu_period.unwrap_or(CPU_PERIOD);
        let mut memory = Vec::new();
        if let Some(bytes) = self.memory {
            memory.push((if unified { "memory.max" } else { "memory.limit_in_bytes" }, bytes.to_string()));
        }
        if let (Some(swap), Some(bytes)) = (self.swap, self.memory) {
            let total = u64::try_from(swap).ok();
            let of_swap = total.map_or_else(|| "max".to_owned(), |total| total.saturating_sub(bytes).to_string());
            memory.push(if unified {
                ("memory.swap.max", of_swap)
            } else {
                ("memory.memsw.limit_in_bytes", swap.to_string())
            });
        }
        let mut cpu = Vec::new();
        if self.cpu_quota.is_some() || self.cpu_period.is_some() {
            let quota = self.cpu_quota.and_then(|quota| u64::try_from(quota).ok());
            if unified {
                cpu.push((
                    "cpu.max",
                    format!("{} {period}", quota.map_or("max".to_owned(), |quota| quota.to_string())),
                ));
            } else {
                cpu.push(("cpu.cfs_period_us", period.to_string()));
                cpu.push(("cpu.cfs_quota_us", quota.map_or("-1".to_owned(), |quota| quota.to_string())));
            }
        }
        if let Some(shares) = self.cpu_shares {
            let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142;
            cpu.push(if unified { ("cpu.weight", weight.to_string()) } else { ("cpu.shares", shares.to_string()) });
        }
        let cpuset = [("cpuset.cpus", self.cpus.clone()), ("cpuset.mems", self.nodes.clone())];
        let cpuset: Vec<_> = cpuset.into_iter().filter_map(|(file, value)| Some((file, value?))).collect();
        let mut pids = Vec::new();
        if let Some(count) = self.processes {
            // The process that starts the others is in the group, too.
            let max = u64::try_from(count).map_or("max".to_owned(), |count| count.saturating_add(1).to_string());
            pids.push(("pids.max", max));
        }
        all.extend([("memory", memory), ("cpu", cpu), ("cpuset", cpuset), ("pids", pids)]);
        all.retain(|(_, settings)| !settings.is_empty());
        all
    }
}

/// Where groups are on this machine, and which one this process is in.
struct Machine {
    /// `/proc/self/mountinfo`.
    mounts: String,
    /// `/proc/self/cgroup`.
    own: String,
}

/// A directory of a controller that this process is in.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    directory: PathBuf,
    unified: bool,
}

impl Machine {
    fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self { mounts: read("/proc/self/mountinfo"), own: read("/proc/self/cgroup") }
    }

    /// Returns where this process is for a controller: in a hierarchy of its own, else in the unified one.
    fn place(&self, controller: &str) -> Option<Place> {
        let own = |wanted: &str| {
            self.own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let has = fields.next()?.split(',').any(|known| known == wanted);
                fields.next().filter(|_| has)
            })
        };
        let mounted = |is: &dyn Fn(&str, &str) -> bool| {
            self.mounts.lines().find_map(|line| {
                let (before, after) = line.split_once(" - ")?;
                let mut before = before.split(' ').skip(3);
                let (root, path) = (before.next()?, before.next()?);
                let mut after = after.split(' ');
                let (kind, options) = (after.next()?, after.nth(1)?);
                is(kind, options).then(|| (root.to_owned(), PathBuf::from(path)))
            })
        };
        let below = |(root, path): (String, PathBuf), own: &str| {
            let inside = own.strip_prefix(root.as_str()).unwrap_or(own);
            path.join(inside.trim_start_matches('/'))
        };
        let has = |options: &str| options.split(',').any(|option| option == controller);
        if let (Some(mount), Some(own)) = (mounted(&|kind, options| kind == "cgroup" && has(options)), own(controller))
        {
            return Some(Place { directory: below(mount, own), unified: false });
        }
        let directory = below(mounted(&|kind, _| kind == "cgroup2")?, own("")?);
        let there = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
        there.split_whitespace().any(|known| known == controller).then_some(Place { directory, unified: true })
    }
}

/// A group with limits that a process and its children are in. Dropping it takes that process out again.
#[derive(Debug)]
pub(crate) struct LimitGroup {
    process: u32,
    /// The group, and where its process was before.
    places: Vec<(PathBuf, PathBuf)>,
}

impl LimitGroup {
    /// Puts a process into a new group; nothing happens without a limit. `name` tells the group from others.
    ///
    /// Errors: this machine has no such groups, or stave may not make one.
    pub(crate) fn enter(limits: &SharedLimits, process: u32, name: &str) -> Result<Option<Self>, EngineError> {
        if limits.is_empty() { Ok(None) } else { Self::enter_at(&Machine::this(), limits, process, name).map(Some) }
    }

    fn enter_at(machine: &Machine, limits: &SharedLimits, process: u32, name: &str) -> Result<Self, EngineError> {
        let mut group = Self { process, places: Vec::new() };
        for unified in [false, true] {
            for (controller, settings) in limits.settings(unified) {
                match machine.place(controller) {
                    Some(place) if place.unified == unified => group.add(&place, (controller, &settings), name)?,
                    Some(_) => {}
                    None => {
                        let message = format!("this machine has no groups that limit `{controller}`");
                        return Err(EngineError::request(message, Some(HINT)));
                    }
                }
            }
        }
        Ok(group)
    }

    fn add(
        &mut self,
        place: &Place,
        (controller, settings): (&str, &[(&str, String)]),
        name: &str,
    ) -> Result<(), EngineError> {
        let directory = place.directory.join(format!("{PREFIX}{name}"));
        let refused = |source: &io::Error, what: &str| {
            let why = format!("a limit of `{controller}` cannot be set here: {what}: {source}");
            EngineError::request(why, Some(HINT))
        };
        let known = self.places.iter().any(|(group, _)| *group == directory);
        if !known {
            sweep(&place.directory);
            if place.unified {
                let file = place.directory.join("cgroup.subtree_control");
                let on = fs::read_to_string(&file).unwrap_or_default();
                if !on.split_whitespace().any(|known| known == controller) {
                    fs::write(&file, format!("+{controller}"))
                        .map_err(|error| refused(&error, &file.display().to_string()))?;
                }
            }
            fs::create_dir(&directory).map_err(|error| refused(&error, &directory.display().to_string()))?;
            self.places.push((directory.clone(), place.directory.clone()));
        }
        if controller == "cpuset" && !place.unified {
            // An empty group of processors takes nobody.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let above = fs::read_to_string(place.directory.join(file)).unwrap_or_default();
                fs::write(directory.join(file), above.trim()).map_err(|error| refused(&error, file))?;
            }
        }
        for (file, value) in settings {
            match fs::write(directory.join(file), value) {
                // A kernel without accounting of swap has none to limit.
                Err(error) if error.kind() == io::ErrorKind::NotFound && file.contains("sw") => {}
                written => written.map_err(|error| refused(&error, &format!("{file} = {value}")))?,
            }
        }
        fs::write(directory.join("cgroup.procs"), self.process.to_string())
            .map_err(|error| refused(&error, "cgroup.procs"))
    }
}

impl Drop for LimitGroup {
    fn drop(&mut self) {
        for (group, before) in &self.places {
            drop(fs::write(before.join("cgroup.procs"), self.process.to_string()));
            for _ in 0..REMOVALS_MAX {
                match fs::remove_dir(group) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    _ => break,
                }
            }
        }
    }
}

/// Removes what killed processes left: a group that has somebody in it stays.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            drop(fs::remove_dir(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> SharedLimits {
        SharedLimits {
            memory: Some(1 << 30),
            swap: Some(3 << 29),
            cpu_quota: Some(150_000),
            cpu_shares: Some(1024),
            cpus: Some("0".to_owned()),
            processes: Some(10),
            ..SharedLimits::default()
        }
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn the_hierarchy_of_a_controller_is_found_in_either_version() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                      31 23 0:27 /docker/x /sys/fs/cgroup/cpu rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n";
        let own = "4:memory:/a/b\n3:cpu,cpuacct:/docker/x/y\n0::/\n";
        let machine = Machine { mounts: mounts.to_owned(), own: own.to_owned() };
        let directory = |controller: &str| machine.place(controller).map(|place| (place.directory, place.unified));
        assert_eq!(directory("memory"), Some(("/sys/fs/cgroup/memory/a/b".into(), false)));
        assert_eq!(directory("cpu"), Some(("/sys/fs/cgroup/cpu/y".into(), false)));
        assert_eq!(directory("pids"), None);
    }

    #[test]
    fn a_unified_group_gets_all_limits_and_is_gone_afterwards() {
        let scratch = tempfile::tempdir().expect("a directory");
        let own = scratch.path().join("own");
        fs::create_dir_all(own.join("stave-dead")).expect("a directory");
        fs::write(own.join("cgroup.controllers"), "cpuset cpu memory pids\n").expect("a file");
        fs::write(own.join("cgroup.subtree_control"), "memory cpu cpuset pids\n").expect("a file");
        let mounts = format!("30 23 0:26 / {} rw shared:9 - cgroup2 cgroup2 rw\n", scratch.path().display());
        let machine = Machine { mounts, own: "0::/own\n".to_owned() };
        let group = LimitGroup::enter_at(&machine, &limits(), 42, "box").expect("a group");
        let file = |name: &str| read(&own.join("stave-box").join(name));
        assert_eq!((file("memory.max"), file("memory.swap.max")), ("1073741824".to_owned(), "536870912".to_owned()));
        assert_eq!((file("cpu.max"), file("cpu.weight")), ("150000 100000".to_owned(), "39".to_owned()));
        assert_eq!(
            (file("cpuset.cpus"), file("pids.max"), file("cgroup.procs")),
            ("0".into(), "11".into(), "42".into())
        );
        assert!(!own.join("stave-dead").exists(), "what a killed process left is removed");
        drop(group);
        assert_eq!(read(&own.join("cgroup.procs")), "42");
    }

    #[test]
    fn a_machine_without_groups_says_so() {
        let machine = Machine { mounts: String::new(), own: String::new() };
        let error = LimitGroup::enter_at(&machine, &limits(), 42, "box").expect_err("there is none");
        assert!(error.to_string().contains("no groups that limit `memory`"), "{error}");
    }
}
