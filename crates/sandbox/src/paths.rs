//! Which paths of `/proc` and `/sys` a step sees empty or may not write: the union of what BuildKit and Buildah hide.
//!
//! Turns the lists into what exists on this kernel, once, so that no step looks for the rest.

use std::path::Path;

/// Paths below `/proc` that a step sees empty: what BuildKit or Buildah masks.
const MASKED_PROC: &[&str] = &[
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];
/// Paths below `/sys` that a step sees empty.
const MASKED_SYS: &[&str] = &["devices/virtual/powercap", "firmware", "fs/selinux"];
/// Paths below `/proc` that a step may not write.
const READ_ONLY_PROC: &[&str] = &["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// The paths that exist here, relative to `/proc` and `/sys`.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) masked_proc: Vec<String>,
    pub(crate) masked_sys: Vec<String>,
    pub(crate) read_only_proc: Vec<String>,
}

impl Paths {
    pub(crate) fn of_this_kernel() -> Self {
        let existing = |base: &str, paths: &[&str]| {
            let there = paths.iter().filter(|path| Path::new(base).join(path).symlink_metadata().is_ok());
            there.map(|path| (*path).to_owned()).collect::<Vec<_>>()
        };
        let mut masked_sys = existing("/sys", MASKED_SYS);
        masked_sys.extend(thermal_throttle());
        Self {
            masked_proc: existing("/proc", MASKED_PROC),
            masked_sys,
            read_only_proc: existing("/proc", READ_ONLY_PROC),
        }
    }
}

/// One directory for each processor.
fn thermal_throttle() -> impl Iterator<Item = String> {
    let processors = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    processors.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let number = name.strip_prefix("cpu")?;
        let is_one = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let there = is_one && entry.path().join("thermal_throttle").is_dir();
        there.then(|| format!("devices/system/cpu/{name}/thermal_throttle"))
    })
}
