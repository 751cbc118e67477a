//! Values of single options of `run` and `create`: mounts, devices, capabilities, signals.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::build::{bytes, truth};

/// An absolute path in a container.
fn target(text: &str) -> Result<String, String> {
    if !text.starts_with('/') || text.split('/').any(|name| name == "..") {
        return Err(format!("`{text}` is no absolute path in the container"));
    }
    match text.trim_end_matches('/') {
        "" => Err("nothing can be mounted over `/`".to_owned()),
        path => Ok(path.to_owned()),
    }
}

/// One `--volume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VolumeArg {
    /// Something of this machine.
    Bind { source: PathBuf, target: String, writable: bool },
    /// A volume of the store.
    Named { name: String, target: String, writable: bool, copy: bool },
    /// A path in the container that is in no image made from it.
    Anonymous(String),
}

impl FromStr for VolumeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (source, place, options) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(only), None, ..) => return target(only).map(Self::Anonymous),
            (Some(source), Some(place), options, None) => (source, place, options.unwrap_or("rw")),
            _ => return Err(format!("`{text}` has too many colons: expected `SOURCE:TARGET[:ro]`")),
        };
        let (mut writable, mut copy) = (true, true);
        for option in options.split(',') {
            match option {
                "ro" | "readonly" => writable = false,
                "nocopy" => copy = false,
                // Without labels of a security module, and with one way to mount, these are so anyway.
                "rw" | "z" | "Z" | "rprivate" | "private" | "cached" | "delegated" | "consistent" => {}
                other => return Err(format!("`{other}` is not supported for a mount: expected `ro` or `rw`")),
            }
        }
        if !source.starts_with('/') && !source.starts_with('.') && !source.starts_with('~') {
            if source.contains('/') {
                return Err(format!("`{source}` is neither a volume nor a path: say `./{source}` for a directory"));
            }
            return Ok(Self::Named { name: source.to_owned(), target: target(place)?, writable, copy });
        }
        Ok(Self::Bind { source: source.into(), target: target(place)?, writable })
    }
}

/// One `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MountArg {
    Bind { source: PathBuf, target: String, writable: bool },
    Named { name: String, target: String, writable: bool, copy: bool },
    Tmpfs(TmpfsArg),
    Anonymous(String),
}

impl FromStr for MountArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut kind, mut source, mut place, mut writable, mut size) = ("volume", None, None, true, None);
        let mut copy = true;
        for field in text.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, "true"));
            match key {
                "type" => kind = value,
                "source" | "src" => source = Some(value),
                "target" | "dst" | "destination" => place = Some(target(value)?),
                "readonly" | "ro" => {
                    writable = !truth(value).ok_or_else(|| format!("`{value}` is neither true nor false"))?;
                }
                "volume-nocopy" => {
                    copy = !truth(value).ok_or_else(|| format!("`{value}` is neither true nor false"))?;
                }
                "volume-driver" if value == "local" => {}
                "tmpfs-size" => size = Some(bytes(value)?),
                // The way that every mount is made here.
                "bind-propagation" if value == "rprivate" || value == "private" => {}
                "consistency" => {}
                other => return Err(format!("`{other}` is not supported in `--mount`")),
            }
        }
        let place = place.ok_or("`target=` is missing")?;
        match (kind, source) {
            ("bind", Some(source)) => Ok(Self::Bind { source: source.into(), target: place, writable }),
            ("bind", None) => Err("`source=` is missing".to_owned()),
            ("tmpfs", None) => Ok(Self::Tmpfs(TmpfsArg { target: place, bytes: size })),
            ("tmpfs", Some(_)) => Err("a `tmpfs` has no `source=`".to_owned()),
            ("volume", None) => Ok(Self::Anonymous(place)),
            ("volume", Some(name)) => Ok(Self::Named { name: name.to_owned(), target: place, writable, copy }),
            (other, _) => Err(format!("`type={other}` is not supported: expected `bind`, `volume` or `tmpfs`")),
        }
    }
}

/// One `--tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TmpfsArg {
    pub(crate) target: String,
    pub(crate) bytes: Option<u64>,
}

impl FromStr for TmpfsArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, options) = text.split_once(':').unwrap_or((text, ""));
        let mut size = None;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("size", value)) => size = Some(bytes(value)?),
                None if matches!(option, "rw" | "nosuid" | "nodev" | "noexec") => {}
                _ => return Err(format!("`{option}` is not supported for a tmpfs: expected `size=BYTES`")),
            }
        }
        Ok(Self { target: target(place)?, bytes: size })
    }
}

/// One `--device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceArg {
    pub(crate) path: PathBuf,
    pub(crate) target: String,
}

impl FromStr for DeviceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let path = parts.next().unwrap_or_default();
        let (second, third) = (parts.next(), parts.next());
        let is_access = |text: &str| !text.is_empty() && text.chars().all(|letter| "rwm".contains(letter));
        let (place, access) = match (second, third) {
            (Some(access), None) if is_access(access) => (path, access),
            (place, access) => (place.unwrap_or(path), access.unwrap_or("rwm")),
        };
        if access != "rwm" || parts.next().is_some() {
            return Err(format!("`{text}`: only all of `rwm` can be allowed, or nothing"));
        }
        if !Path::new(path).is_absolute() {
            return Err(format!("`{path}` is no absolute path of a device"));
        }
        Ok(Self { path: path.into(), target: target(place)? })
    }
}

/// A capability, by its number; all of them without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CapabilityArg(pub(crate) Option<u32>);

impl CapabilityArg {
    /// The numbers that it stands for.
    pub(crate) fn numbers(self) -> Vec<u32> {
        self.0.map_or_else(|| (0..64).collect(), |number| vec![number])
    }
}

/// The kernel's names, by their numbers.
///
/// Reference: `capabilities(7)`.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Those without which a container's system call filter refuses what they are for.
const FILTERED: [&str; 12] = [
    "DAC_READ_SEARCH",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl FromStr for CapabilityArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" {
            return Ok(Self(None));
        }
        let number = CAPABILITIES.iter().position(|known| *known == name).and_then(|at| u32::try_from(at).ok());
        number.map(|number| Self(Some(number))).ok_or_else(|| format!("`{text}` is no capability"))
    }
}

/// Reads a capability that may be added.
pub(super) fn added_capability(text: &str) -> Result<CapabilityArg, String> {
    let capability: CapabilityArg = text.parse()?;
    let name = capability.0.and_then(|number| CAPABILITIES.get(usize::try_from(number).ok()?));
    match name {
        Some(name) if !FILTERED.contains(name) => Ok(capability),
        _ => Err(format!("`{text}` alone would be of no use behind the system call filter: use `--privileged`")),
    }
}

/// Reads a signal: `9`, `KILL`, `SIGKILL`.
pub(crate) fn signal(text: &str) -> Result<i32, String> {
    stave_engine::signal_number(text).ok_or_else(|| format!("`{text}` is no signal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_as_docker_reads_them() {
        let bind = |source: &str, target: &str, writable| VolumeArg::Bind {
            source: source.into(),
            target: target.to_owned(),
            writable,
        };
        assert_eq!("/a:/b".parse(), Ok(bind("/a", "/b", true)));
        assert_eq!("./a:/b/:ro,z".parse(), Ok(bind("./a", "/b", false)));
        assert_eq!("/only".parse(), Ok(VolumeArg::Anonymous("/only".to_owned())));
        let named = VolumeArg::Named { name: "name".to_owned(), target: "/b".to_owned(), writable: false, copy: false };
        assert_eq!("name:/b:ro,nocopy".parse(), Ok(named));
        for text in ["na/me:/b", "/a:b", "/a:/b:rslave", "/a:/b:ro:x", "/a:/", "/a:/b/../.."] {
            assert!(text.parse::<VolumeArg>().is_err(), "{text}");
        }
        let mount = "type=bind,src=/a,dst=/b,readonly".parse();
        assert_eq!(mount, Ok(MountArg::Bind { source: "/a".into(), target: "/b".to_owned(), writable: false }));
        let tmpfs = TmpfsArg { target: "/t".to_owned(), bytes: Some(1 << 20) };
        assert_eq!("type=tmpfs,target=/t,tmpfs-size=1m".parse(), Ok(MountArg::Tmpfs(tmpfs.clone())));
        assert_eq!("/t:size=1m,noexec".parse(), Ok(tmpfs));
        for text in [
            "type=bind,target=/b",
            "type=npipe,target=/b",
            "type=bind,source=/a",
            "type=volume,source=x",
            "type=tmpfs,target=/b,x=y",
        ] {
            assert!(text.parse::<MountArg>().is_err(), "{text}");
        }
        assert_eq!("/dev/fuse".parse(), Ok(DeviceArg { path: "/dev/fuse".into(), target: "/dev/fuse".to_owned() }));
        assert!("/dev/fuse:/dev/x:r".parse::<DeviceArg>().is_err());
    }

    #[test]
    fn capabilities_and_signals_have_several_spellings() {
        assert_eq!("net_admin".parse(), Ok(CapabilityArg(Some(12))));
        assert_eq!("CAP_CHOWN".parse(), Ok(CapabilityArg(Some(0))));
        assert_eq!("ALL".parse(), Ok(CapabilityArg(None)));
        assert!("NOTHING".parse::<CapabilityArg>().is_err());
        assert!(added_capability("SYS_ADMIN").is_err() && added_capability("ALL").is_err());
        for text in ["9", "KILL", "sigkill"] {
            assert_eq!(signal(text), Ok(9));
        }
        assert!(signal("SIGNAL").is_err() && signal("0").is_err());
    }
}
