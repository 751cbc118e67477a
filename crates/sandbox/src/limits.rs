//! The step's resource limits.

use rustix::io::Errno as Code;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{ResourceLimit, SandboxError};

/// What Docker calls the limits.
///
/// Reference: `getrlimit(2)`; `docker run --ulimit`.
const NAMES: &[(&str, Resource)] = &[
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

fn show(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

/// Sets `limits` for this process and what it becomes. Needs the builder's privileges where it raises one.
pub(crate) fn apply(limits: &[ResourceLimit]) -> Result<(), SandboxError> {
    for limit in limits {
        let known = NAMES.iter().find(|(name, _)| *name == limit.name);
        let Some((_, resource)) = known else { return Err(SandboxError::UnknownLimit { name: limit.name.clone() }) };
        setrlimit(*resource, Rlimit { current: limit.soft, maximum: limit.hard }).map_err(|errno: Code| {
            SandboxError::Limit {
                name: limit.name.clone(),
                wanted: format!("{}:{}", show(limit.soft), show(limit.hard)),
                own: show(getrlimit(*resource).maximum),
                errno: errno.into(),
            }
        })?;
    }
    Ok(())
}
