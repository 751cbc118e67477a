//! Whether a process of a step was killed because memory ran out: counters of the kernel before and after the step.
//!
//! Turns the state of the memory cgroup in which the step ran (its own where `--cgroup-parent` gives it one, else the
//! builder's) and of the whole machine into a [`MemoryKill`]. Knows both versions of cgroups, and no step.
//!
//! Reference: Linux, `Documentation/admin-guide/cgroup-v2.rst`, `memory.events`, and `cgroup-v1/memory.rst`, `oom_control`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use stave_sandbox::Exit;

/// Signal 9, by which the kernel ends what takes too much memory.
pub(crate) const SIGKILL: i32 = 9;
/// Limits above this are none: version 1 has the largest multiple of a page that fits into 63 bits.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// A process of a step that was killed because memory ran out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryKill {
    /// The most that the cgroup may take, in bytes, if it was the cgroup's memory that ran out and not the machine's.
    pub limit: Option<u64>,
    /// The most that one process of the step had, in bytes, where the kernel says.
    pub largest: Option<u64>,
    /// The cgroup whose limit it was, as `/proc/self/cgroup` names it.
    pub group: Option<String>,
}

impl fmt::Display for MemoryKill {
    /// How it ended: `killed for memory at 96 MiB`, at the limit of its cgroup or, where that is not known, at the most that it had.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit.or(self.largest) {
            Some(bytes) => write!(f, "killed for memory at {} MiB", bytes.div_ceil(1024 * 1024)),
            None => f.write_str("killed for memory"),
        }
    }
}

/// The counters when a step starts.
pub(crate) struct Watch {
    group: Option<Memory>,
    of_group: Option<u64>,
    of_machine: Option<u64>,
}

/// A memory cgroup.
#[derive(Debug, PartialEq, Eq)]
struct Memory {
    directory: PathBuf,
    /// Where its hierarchy begins.
    mounted: PathBuf,
    name: String,
    version: u8,
}

impl Watch {
    /// Reads the counters. `own` is the directory of the step's own cgroup, if it has one; else it is in that of `parent`, the
    /// process that makes it.
    pub(crate) fn begin(own: Option<&Path>, parent: Option<u32>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let who = parent.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        let builders = || memory_group(&read(&format!("/proc/{who}/cgroup")), &read("/proc/self/mountinfo"));
        let group = own.and_then(of_step).or_else(builders);
        let of_group = group.as_ref().and_then(Memory::killed);
        Self { group, of_group, of_machine: killed_on_machine() }
    }

    /// Reads them again: whether memory ran out for a step that ended so, with these last words. `largest` is the most that
    /// one of its processes had.
    pub(crate) fn end(self, exit: Exit, last_lines: &[String], largest: Option<u64>) -> Option<MemoryKill> {
        let was_killed = match exit {
            Exit::Code(0) => false,
            Exit::Signal { number: SIGKILL, .. } | Exit::Code(137) => true,
            // A shell, a `make` or a compiler's driver that survives says what became of its child.
            Exit::Code(_) | Exit::Signal { .. } => last_lines.iter().any(|line| line.contains("Killed")),
        };
        if !was_killed {
            return None;
        }
        let rose =
            |before: Option<u64>, after: Option<u64>| before.zip(after).is_some_and(|(before, after)| after > before);
        if let Some(group) = self.group.as_ref().filter(|group| rose(self.of_group, group.killed())) {
            let limit = group.limit();
            let name = limit.is_some().then(|| group.name.clone());
            return Some(MemoryKill { limit, largest, group: name });
        }
        rose(self.of_machine, killed_on_machine()).then_some(MemoryKill { limit: None, largest, group: None })
    }
}

impl Memory {
    /// Processes that were killed in the group and below, so far.
    fn killed(&self) -> Option<u64> {
        let file = if self.version == 1 { "memory.oom_control" } else { "memory.events" };
        field(&fs::read_to_string(self.directory.join(file)).ok()?, "oom_kill")
    }

    /// The least that the group and those above it may take.
    fn limit(&self) -> Option<u64> {
        let limit = if self.version == 1 {
            field(&fs::read_to_string(self.directory.join("memory.stat")).ok()?, "hierarchical_memory_limit")
        } else {
            let above = self.directory.ancestors().take_while(|path| path.starts_with(&self.mounted));
            above.filter_map(|path| fs::read_to_string(path.join("memory.max")).ok()?.trim().parse().ok()).min()
        };
        limit.filter(|&bytes| bytes < NO_LIMIT_BYTES)
    }
}

fn killed_on_machine() -> Option<u64> {
    field(&fs::read_to_string("/proc/vmstat").ok()?, "oom_kill")
}

/// The number behind a name, one of each on a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The group of a step in the unified hierarchy, if that one counts memory.
fn of_step(directory: &Path) -> Option<Memory> {
    let counts = directory.join("memory.events").exists();
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    counts.then(|| Memory {
        directory: directory.to_owned(),
        mounted: directory.parent().unwrap_or(directory).to_owned(),
        name,
        version: 2,
    })
}

/// Returns the group in which a process's memory is counted, from its `cgroup` and `mountinfo`.
fn memory_group(groups: &str, mounts: &str) -> Option<Memory> {
    let path = |wanted: &dyn Fn(&str, &str) -> bool| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            wanted(number, controllers).then_some(path)
        })
    };
    let in_first = path(&|_, controllers| controllers.split(',').any(|name| name == "memory"));
    let (name, version) = match in_first {
        Some(name) => (name, 1),
        None => (path(&|number, controllers| number == "0" && controllers.is_empty())?, 2),
    };
    let (root, mounted) = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut behind = after.split(' ');
        let (kind, options) = (behind.next()?, behind.nth(1)?);
        let is_it = match version {
            1 => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
            _ => kind == "cgroup2",
        };
        let mut fields = before.split(' ').skip(3);
        is_it.then_some((fields.next()?, fields.next()?))
    })?;
    // In a container the mount may begin at the container's own group.
    let below = if root == "/" { name } else { name.strip_prefix(root).unwrap_or_default() };
    let directory = Path::new(mounted).join(below.trim_start_matches('/'));
    let directory = if below.contains("..") { mounted.into() } else { directory };
    Some(Memory { directory, mounted: mounted.into(), name: name.to_owned(), version })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                          32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

    fn group(groups: &str, mounts: &str) -> Option<(PathBuf, u8)> {
        memory_group(groups, mounts).map(|group| (group.directory, group.version))
    }

    #[test]
    fn the_group_that_counts_memory_is_found_in_both_versions() {
        let first = "4:cpu,memory:/a/b\n0::/x\n";
        assert_eq!(group(first, MOUNTS), Some(("/sys/fs/cgroup/memory/a/b".into(), 1)));
        assert_eq!(group("0::/x\n", MOUNTS), Some(("/sys/fs/cgroup/unified/x".into(), 2)));
        let own = "31 30 0:27 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(group("0::/docker/1/x\n", own), Some(("/sys/fs/cgroup/x".into(), 2)));
        assert_eq!(group("0::/../y\n", own), Some(("/sys/fs/cgroup".into(), 2)));
        assert_eq!(group("", MOUNTS), None);
        assert_eq!(group("0::/x\n", ""), None);
    }

    #[test]
    fn what_ended_for_another_reason_was_not_killed_for_memory() {
        let watch = || Watch { group: None, of_group: None, of_machine: Some(0) };
        assert_eq!(watch().end(Exit::Code(0), &["Killed".to_owned()], None), None);
        assert_eq!(watch().end(Exit::Code(1), &["failed".to_owned()], None), None);
        assert_eq!(field("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
    }
}
