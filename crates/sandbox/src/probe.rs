//! What the host offers, for `stave doctor`.
//!
//! Turns trials into findings with advice. Trials that change a process happen in a process of their own, and mount only
//! in its own namespace, so nothing is left behind.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno as Code;
use rustix::mount::{
    FsOpenFlags, MountAttrFlags, MountPropagationFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsopen, mount_change,
};
use rustix::process::{Resource, WaitId, WaitIdOptions, getrlimit, waitid};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};
use serde::{Deserialize, Serialize};

use crate::emulation::{ADVICE as EMULATION_ADVICE, Emulation};
use crate::rootfs::{attach, new_mount, quiet};
use crate::rootless::{IdMap, Ranges, RootlessOptions, is_root, write_maps};
use crate::{Errno, inside, sys};

/// Whether something that stave uses is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is.
    Ok,
    /// Stave works without it, but not all that it can do.
    Limited,
    /// Stave cannot run steps without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Short name: `overlay`.
    pub name: &'static str,
    /// The verdict.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty where nothing is to be done.
    pub advice: String,
}

/// The oldest kernel with everything that a step needs (`mount_setattr`).
const KERNEL_MIN: (u32, u32) = (5, 12);
/// The oldest kernel that takes hundreds of layers one by one.
const KERNEL_LAYERS: (u32, u32) = (6, 7);
/// Subordinate ids that images expect.
const IDS_USUAL: u32 = 65536;
/// Open files with which a build of many stages works.
const FILES_USUAL: u64 = 1024;

fn finding(name: &'static str, state: State, detail: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { name, state, detail: detail.into(), advice: advice.into() }
}

fn fine(name: &'static str, detail: impl Into<String>) -> Finding {
    finding(name, State::Ok, detail, "")
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Looks at the kernel and the configuration of this host. Leaves nothing behind.
#[must_use]
pub fn probe() -> Vec<Finding> {
    probe_with(&RootlessOptions::default())
}

/// Like [`probe`], with the files and directories that [`crate::rootless::enter`] would look at.
#[must_use]
pub fn probe_with(options: &RootlessOptions) -> Vec<Finding> {
    vec![
        kernel(),
        processes(),
        user_namespaces(),
        id_ranges(options),
        overlay(),
        proc_mounts(),
        seccomp(),
        landlock(),
        openat2(),
        memory_files(),
        cgroups(),
        open_files(),
        limits(),
        emulation(),
    ]
}

/// Major and minor number of a release like `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let detail = format!("Linux {release}");
    match version(&release) {
        Some(version) if version >= KERNEL_LAYERS => fine("kernel", detail),
        Some(version) if version >= KERNEL_MIN => {
            let advice = "Images of very many layers do not fit into one mount before Linux 6.7; flatten them or use a newer kernel.";
            finding("kernel", State::Limited, detail, advice)
        }
        _ => finding("kernel", State::Missing, detail, "Steps need Linux 5.12 or newer."),
    }
}

fn processes() -> Finding {
    let outcome = sys::in_child(|| match sys::fork(0, None) {
        Ok(sys::Forked::Child) => sys::exit_now(0),
        Ok(sys::Forked::Parent(_)) => None,
        Err(errno) => Some(Errno::from(errno)),
    });
    match outcome {
        Some(None) => fine("processes", "clone3 and process descriptors work"),
        Some(Some(errno)) => finding(
            "processes",
            State::Missing,
            format!("clone3: {errno}"),
            "A filter of the container that stave runs in forbids `clone3`; allow it.",
        ),
        None => finding(
            "processes",
            State::Missing,
            "no process can be made",
            "Raise the limit on processes (`ulimit -u`).",
        ),
    }
}

/// Enters namespaces as stave would: for root mounts of its own, for others a user namespace around them.
pub(crate) fn enter() -> Result<(), Code> {
    if is_root() {
        sys::unshare(UnshareFlags::NEWNS)?;
    } else {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
        write_maps(uid, gid).map_err(|_| Code::PERM)?;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
}

fn user_namespaces() -> Finding {
    const NAME: &str = "user namespaces";
    let most = read("/proc/sys/user/max_user_namespaces");
    if is_root() {
        return fine(NAME, "not needed: stave runs as root here");
    }
    match sys::in_child(|| enter().err().map(Errno::from)) {
        Some(None) => return fine(NAME, "available"),
        Some(Some(errno)) if most.as_deref() != Some("0") => {
            let advice = if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
                "AppArmor forbids them to programs without a profile. An administrator can allow them with `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or give stave a profile with `userns,`."
            } else if read("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
                "An administrator can allow them with `sysctl kernel.unprivileged_userns_clone=1`."
            } else {
                "The container or the security policy that stave runs in forbids them; allow `unshare` or run stave as root."
            };
            return finding(NAME, State::Missing, format!("cannot be made: {errno}"), advice);
        }
        _ => {}
    }
    let advice = "An administrator can allow them with `sysctl user.max_user_namespaces=15000`.";
    finding(NAME, State::Missing, format!("at most {}", most.unwrap_or_default()), advice)
}

fn id_ranges(options: &RootlessOptions) -> Finding {
    const NAME: &str = "id ranges";
    if is_root() {
        return fine(NAME, "not needed: stave runs as root here");
    }
    match Ranges::find(options) {
        Ok(ranges) => {
            let most = |extents: &[crate::rootless::Extent]| extents.iter().map(|extent| extent.count).sum::<u32>() - 1;
            let (uids, gids) = (most(&ranges.uids), most(&ranges.gids));
            let detail = format!("{uids} user ids and {gids} group ids");
            if uids.min(gids) >= IDS_USUAL {
                return fine(NAME, detail);
            }
            let advice = "Images expect 65536 ids; make the ranges in `/etc/subuid` and `/etc/subgid` that long.";
            finding(NAME, State::Limited, detail, advice)
        }
        Err(reason) => {
            let detail = reason.to_string();
            finding(NAME, State::Limited, detail, IdMap::Single { reason }.advice().unwrap_or_default())
        }
    }
}

/// What the trial mount of an overlay showed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Overlay {
    each_layer: bool,
    volatile: bool,
}

/// Joins two directories of a tmpfs that exists for this process only.
fn try_overlay() -> Result<Overlay, Code> {
    enter()?;
    let userxattr = !is_initial_namespace();
    let memory = new_mount("tmpfs", &[], MountAttrFlags::empty())?;
    attach(&memory, inside::open(rustix::fs::CWD, "/", rustix::fs::OFlags::PATH)?)?;
    for name in ["lower", "upper", "work"] {
        rustix::fs::mkdirat(&memory, name, 0o755.into())?;
    }
    rustix::process::fchdir(&memory)?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let each_layer = fsconfig_set_string(&context, "lowerdir+", "lower").is_ok();
    if !each_layer {
        fsconfig_set_string(&context, "lowerdir", "lower")?;
    }
    fsconfig_set_string(&context, "upperdir", "upper")?;
    fsconfig_set_string(&context, "workdir", "work")?;
    if userxattr {
        fsconfig_set_flag(&context, "userxattr")?;
    }
    let volatile = fsconfig_set_flag(&context, "volatile").is_ok();
    fsconfig_create(&context)?;
    Ok(Overlay { each_layer, volatile })
}

pub(crate) fn is_initial_namespace() -> bool {
    read("/proc/self/uid_map").is_some_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

fn overlay() -> Finding {
    const NAME: &str = "overlay";
    match sys::in_child(|| try_overlay().map_err(Errno::from)) {
        Some(Ok(Overlay { each_layer: true, volatile: true })) => {
            fine(NAME, "layers can be joined, one by one and without syncs")
        }
        Some(Ok(found)) => {
            let mut lacks = Vec::new();
            if !found.each_layer {
                lacks.push("layers one by one");
            }
            if !found.volatile {
                lacks.push("mounts without syncs");
            }
            finding(
                NAME,
                State::Limited,
                format!("the kernel lacks {}", lacks.join(" and ")),
                "A newer kernel is faster and takes more layers.",
            )
        }
        Some(Err(errno)) if errno == Errno::from(Code::NODEV) => finding(
            NAME,
            State::Missing,
            "the kernel has no overlayfs",
            "An administrator can load it with `modprobe overlay`.",
        ),
        Some(Err(errno)) => {
            let advice = "Overlayfs in a user namespace needs Linux 5.11, and the user namespace above.";
            finding(NAME, State::Missing, format!("cannot be mounted: {errno}"), advice)
        }
        None => finding(NAME, State::Missing, "the trial ended unexpectedly", "Please report this."),
    }
}

/// Mounts `/proc` of a new pid namespace, as each step does. The answer of the process inside is its exit status.
fn try_proc() -> Result<(), Code> {
    enter()?;
    match sys::fork(libc::CLONE_NEWPID, None)? {
        sys::Forked::Child => sys::exit_now(new_mount("proc", &[], quiet()).err().map_or(0, Code::raw_os_error)),
        sys::Forked::Parent(child) => {
            let status = waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED)?;
            match status.and_then(|status| status.exit_status()) {
                Some(0) => Ok(()),
                Some(errno) => Err(Code::from_raw_os_error(errno)),
                None => Err(Code::CHILD),
            }
        }
    }
}

fn proc_mounts() -> Finding {
    const NAME: &str = "proc mounts";
    match sys::in_child(|| try_proc().err().map(Errno::from)) {
        Some(None) => fine(NAME, "a step can have its own /proc"),
        Some(Some(errno)) => {
            let advice = "The container that stave runs in hides parts of `/proc`, and then the kernel shows no other. Start that container with `--security-opt systempaths=unconfined`.";
            finding(NAME, State::Missing, format!("cannot be mounted: {errno}"), advice)
        }
        None => finding(NAME, State::Missing, "the trial ended unexpectedly", "Please report this."),
    }
}

fn seccomp() -> Finding {
    match read("/proc/sys/kernel/seccomp/actions_avail") {
        Some(actions) if actions.contains("errno") => fine("seccomp", "system call filters work"),
        _ => finding(
            "seccomp",
            State::Missing,
            "the kernel has no system call filters",
            "Use a kernel with CONFIG_SECCOMP_FILTER.",
        ),
    }
}

fn landlock() -> Finding {
    match sys::landlock_version() {
        version if version >= 2 => fine("landlock", format!("version {version}")),
        version => {
            let detail = if version == 0 { "not available".to_owned() } else { "version 1".to_owned() };
            let advice = "Archives are unpacked in a root of their own either way; Landlock is a second wall. Add `landlock` to the kernel's `lsm=` list.";
            finding("landlock", State::Limited, detail, advice)
        }
    }
}

fn openat2() -> Finding {
    match inside::open(rustix::fs::CWD, "/", rustix::fs::OFlags::PATH) {
        Ok(_) => fine("openat2", "paths can be confined to a root"),
        Err(errno) => {
            let advice = "A filter of the container that stave runs in forbids `openat2`; allow it.";
            finding("openat2", State::Missing, Errno::from(errno).to_string(), advice)
        }
    }
}

fn memory_files() -> Finding {
    match crate::springboard::prepare() {
        Ok(_) => fine("memory files", "executable memory files work"),
        Err(error) => {
            let advice = "Steps are started from one, which protects stave's own executable. An administrator can allow them with `sysctl vm.memfd_noexec=1`.";
            finding("memory files", State::Missing, error.to_string(), advice)
        }
    }
}

fn cgroups() -> Finding {
    const NAME: &str = "cgroups";
    let advice = "Steps run without limits on memory and processors. Boot with `systemd.unified_cgroup_hierarchy=1` for version 2.";
    let root = Path::new("/sys/fs/cgroup");
    let Some(controllers) = read("/sys/fs/cgroup/cgroup.controllers") else {
        let kind = match (root.join("unified/cgroup.controllers").exists(), root.join("memory").exists()) {
            (true, _) => "version 1 with an unused version 2 beside it",
            (false, true) => "version 1",
            (false, false) => "none",
        };
        return finding(NAME, State::Limited, kind, advice);
    };
    let own = read("/proc/self/cgroup")
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("0::/").map(str::to_owned)));
    let mine =
        own.map(|path| root.join(path)).filter(|path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok());
    match mine {
        Some(_) => fine(NAME, format!("version 2 with {controllers}")),
        None => finding(
            NAME,
            State::Limited,
            format!("version 2 with {controllers}, not delegated to this user"),
            "Steps run without limits of their own. `systemd-run --user --scope -p Delegate=yes stave ...` delegates them.",
        ),
    }
}

fn open_files() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let show = |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string());
    let detail = format!("{} open files, at most {}", show(limit.current), show(limit.maximum));
    if limit.current.is_none_or(|current| current >= FILES_USUAL) {
        return fine("open files", detail);
    }
    finding("open files", State::Limited, detail, "Builds of many stages need more: `ulimit -n 1024`.")
}

fn limits() -> Finding {
    if capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE)) {
        return fine("limits", "limits can be raised for a step");
    }
    let advice = "Steps inherit the limits of stave; raise them before it starts, or give it CAP_SYS_RESOURCE.";
    finding("limits", State::Limited, "no CAP_SYS_RESOURCE: limits can only be lowered", advice)
}

/// Looks where a step would be, so that handlers of a namespace are seen, and made, in a process that then ends.
fn emulation() -> Finding {
    const NAME: &str = "emulation";
    let found = sys::in_child(|| {
        enter().map_err(Errno::from)?;
        let found = Emulation::find();
        Ok::<Vec<String>, Errno>(found.architectures().into_iter().map(str::to_owned).collect())
    });
    match found {
        Some(Ok(found)) if !found.is_empty() => {
            let list: Vec<String> = found.iter().map(|name| format!("linux/{name}")).collect();
            fine(NAME, format!("programs of {} run, too", list.join(", ")))
        }
        _ => finding(NAME, State::Limited, "only programs for this machine's processor run", EMULATION_ADVICE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_numbers() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.12-rc1"), Some((5, 12)));
        assert_eq!(version("strange"), None);
        assert!((6, 10) > KERNEL_LAYERS && (5, 9) < KERNEL_MIN);
    }

    #[test]
    fn what_is_not_right_comes_with_advice() {
        let findings = probe();
        assert_eq!(findings.len(), 14);
        for finding in findings {
            assert_eq!(finding.advice.is_empty(), finding.state == State::Ok, "{finding:?}");
            assert!(!finding.detail.is_empty(), "{}", finding.name);
        }
    }

    #[test]
    fn a_trial_leaves_no_mount_and_no_process() {
        let seen =
            || (read("/proc/self/mountinfo"), read("/proc/self/uid_map"), fs::read_link("/proc/self/ns/mnt").ok());
        let before = seen();
        assert_eq!(probe().len(), 14);
        assert_eq!(seen(), before);
    }
}
