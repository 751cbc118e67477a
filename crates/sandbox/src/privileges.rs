//! What the step may do: capabilities, filter, user.

use rustix::io::Errno as Code;
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::error::During;
use crate::person::{Person, unmapped};
use crate::{Rights, SandboxError, Security, sys};

/// BuildKit's fourteen: `CapBnd` is `00000000a80425fb`.
pub(crate) const STEP: CapabilitySet = CapabilitySet::from_bits_retain(0xa804_25fb);

/// What unpacking needs: owners, modes, special files, file capabilities, and `trusted.*` attributes.
pub(crate) const JOB: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_ADMIN);

/// The most capabilities that a kernel can have.
const CAPABILITIES_MAX: u32 = 64;

/// Leaves only `kept` reachable for whatever is executed later. What this process holds stays.
pub(crate) fn limit_to(kept: CapabilitySet) -> Result<(), SandboxError> {
    for number in 0..CAPABILITIES_MAX {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // One more than the last that this kernel has.
            Err(Code::INVAL) => break,
            other => other.during("give up", "capabilities")?,
        }
    }
    clear_ambient_capability_set().during("clear", "ambient capabilities")
}

/// Holds exactly `kept`, and passes none on.
pub(crate) fn hold(kept: CapabilitySet) -> Result<(), SandboxError> {
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).during("set", "capabilities")
}

/// Becomes `person`, with as much power as `security` says.
///
/// The filter is loaded while the process still has `CAP_SYS_ADMIN`, which needs no no-new-privileges: set-user-id
/// programs work in a step.
pub(crate) fn drop_to(
    person: &Person,
    filter: &[libc::sock_filter],
    security: Security,
    rights: &Rights,
) -> Result<(), SandboxError> {
    match security {
        Security::Sandbox => {
            let kept = changed(rights)?;
            limit_to(kept)?;
            sys::load_filter(filter).during("load", "the system call filter")?;
            become_person(person)?;
            hold(if person.uid == 0 { kept } else { CapabilitySet::empty() })
        }
        Security::Insecure => {
            let own = capabilities(None).during("find", "the builder's capabilities")?.permitted;
            set_keep_capabilities(true).during("keep", "capabilities")?;
            become_person(person)?;
            pass_on(own)
        }
    }
}

/// Returns the fourteen with what was added and without what was taken away, as far as this process has it.
fn changed(rights: &Rights) -> Result<CapabilitySet, SandboxError> {
    let set = |numbers: &[u32]| {
        let bits = numbers.iter().filter_map(|number| 1_u64.checked_shl(*number)).fold(0, std::ops::BitOr::bitor);
        CapabilitySet::from_bits_retain(bits)
    };
    let own = capabilities(None).during("find", "the builder's capabilities")?.permitted;
    Ok(STEP.union(set(&rights.added).intersection(own)).difference(set(&rights.dropped)))
}

/// Holds `kept`, and passes them on to whatever is executed, whoever it runs as.
fn pass_on(kept: CapabilitySet) -> Result<(), SandboxError> {
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    set_capabilities(None, sets).during("set", "capabilities")?;
    for number in 0..CAPABILITIES_MAX {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            configure_capability_in_ambient_set(capability, true).during("pass on", "capabilities")?;
        }
    }
    Ok(())
}

fn become_person(person: &Person) -> Result<(), SandboxError> {
    let failed = |action: &str, errno: Code| {
        unmapped(person, errno).unwrap_or_else(|| SandboxError::SetUp {
            action: action.to_owned(),
            target: person.uid.to_string(),
            errno: errno.into(),
        })
    };
    let groups: Vec<Gid> = person.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match set_thread_groups(&groups) {
        // With a single mapped id the kernel forbids it to everybody, and the builder's groups stay.
        Err(Code::PERM) if groups_are_fixed() => {}
        other => other.map_err(|errno| failed("take the groups of user", errno))?,
    }
    let (uid, gid) = (Uid::from_raw(person.uid), Gid::from_raw(person.gid));
    set_thread_res_gid(gid, gid, gid).map_err(|errno| failed("take the group of user", errno))?;
    set_thread_res_uid(uid, uid, uid).map_err(|errno| failed("become user", errno))
}

fn groups_are_fixed() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|state| state.starts_with(b"deny"))
}
