//! Values of one build option each: hosts, limits, sizes, modes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use stave_engine::{PullPolicy, Ulimit};

/// What stands for the address of the machine in `--add-host`.
const HOST_GATEWAY: &str = "host-gateway";

/// One `--add-host`: a name, and one address or several.
///
/// Reference: docker/cli, `opts.ValidateExtraHost`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostArg {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
}

impl FromStr for HostArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').or_else(|| text.split_once(':'));
        let (name, addresses) = parts.ok_or("expected `NAME:ADDRESS` or `NAME=ADDRESS`")?;
        let odd = |character: char| character.is_whitespace() || character.is_control() || ":#".contains(character);
        if name.is_empty() || name.contains(odd) {
            return Err(format!("`{name}` is no host name"));
        }
        let addresses = addresses.split(',').map(address).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), addresses })
    }
}

/// Reads one address, IPv6 also in brackets. Steps see the machine's own network, so its gateway is the machine itself.
fn address(text: &str) -> Result<IpAddr, String> {
    if text == HOST_GATEWAY {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| format!("`{text}` is no address: expected IPv4, IPv6 or `{HOST_GATEWAY}`"))
}

/// Reads a time as Go writes one: `24h`, `1h30m`, `0s`, or just `0`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    stave_engine::parse_duration(text).ok_or_else(|| format!("`{text}` is no time, like `24h`"))
}

/// Limits that `--ulimit` knows. Table.
///
/// Reference: docker/go-units, `ulimit.go`.
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads `name=soft[:hard]`; without a hard limit it is the soft one, and -1 is no limit.
pub(in crate::args) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, limits) = text.split_once('=').ok_or("expected `NAME=SOFT[:HARD]`")?;
    if !ULIMITS.contains(&name) {
        return Err(format!("no limit is named `{name}`: expected one of {}", ULIMITS.join(", ")));
    }
    let number = |text: &str| match text.parse::<i64>() {
        Ok(number) if number >= -1 => Ok(number),
        _ => Err(format!("`{text}` is no limit: expected a number, or -1 for none")),
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft > hard || soft == -1) {
        return Err(format!("the soft limit {soft} is above the hard limit {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// Reads a number of bytes with an optional unit: `64m`, `1.5g`, `65536`, `128MiB`. Units are powers of 1024.
///
/// Reference: docker/go-units, `RAMInBytes`.
pub(in crate::args) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: expected a number with `b`, `k`, `m`, `g` or `t`, like `64m`");
    let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start_matches(' ').to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit != "ib" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(wrong()),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let all_digits =
        |text: &str| !text.is_empty() && text.len() <= 19 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(part) {
        return Err(wrong());
    }
    let (whole, part): (u128, u128) = (whole.parse().map_err(|_| wrong())?, part.parse().map_err(|_| wrong())?);
    let parts =
        10_u128.pow(u32::try_from(number.split_once('.').map_or(1, |(_, part)| part.len())).map_err(|_| wrong())?);
    u64::try_from((whole << shift) + ((part << shift) / parts))
        .map_err(|_| format!("`{text}` is more than there can be"))
}

/// Network of RUN steps, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetworkMode {
    Default,
    Host,
    None,
}

impl FromStr for NetworkMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "default" | "" => Ok(Self::Default),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            _ => Err(format!(
                "steps cannot join the network `{text}`: expected `default`, `host` (both the machine's) or `none`"
            )),
        }
    }
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// `tty` on a terminal, else `plain`
    Auto,
    /// Redraws the running steps
    Tty,
    /// One line an event
    Plain,
    /// One JSON object an event
    Rawjson,
    /// The result's id alone
    Quiet,
    /// Nothing but errors
    None,
}

/// When bases are looked up in their registry: Docker's switch, and Buildah's words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PullArg(pub(crate) PullPolicy);

impl FromStr for PullArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Self(PullPolicy::Always)),
            "missing" | "ifmissing" => Ok(Self(PullPolicy::Missing)),
            "never" => Ok(Self(PullPolicy::Never)),
            "newer" => {
                Err("`newer` is not supported: `always` asks the registry and fetches only what changed".to_owned())
            }
            _ => match truth(text) {
                Some(true) => Ok(Self(PullPolicy::Always)),
                Some(false) => Ok(Self(PullPolicy::Missing)),
                None => Err(format!("`{text}` is not `true`, `false`, `always`, `missing` or `never`")),
            },
        }
    }
}

/// Reads a value of a switch as Go does.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads the value of a switch.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    truth(text).ok_or_else(|| "neither true nor false".to_owned())
}

/// `--timestamp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timestamp {
    /// The times that things really have.
    Now,
    /// Seconds since 1970.
    Seconds(i64),
}

/// Reads `--timestamp`.
pub(super) fn timestamp(text: &str) -> Result<Timestamp, String> {
    match text {
        "now" => Ok(Timestamp::Now),
        text => text
            .parse()
            .ok()
            .filter(|&seconds| jiff::Timestamp::from_second(seconds).is_ok())
            .map(Timestamp::Seconds)
            .ok_or_else(|| "expected a number of seconds since 1970, or `now`".to_owned()),
    }
}

/// One `--build-arg`: a name, and its value unless that is the environment's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VariableArg {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

impl FromStr for VariableArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
        if name.is_empty() {
            return Err("the name is missing: expected `NAME=VALUE` or `NAME`".to_owned());
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

/// One `--build-context`: the name that it replaces or adds, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextArg {
    pub(crate) name: String,
    pub(crate) place: ContextPlace,
}

/// What a named context is, as typed.
///
/// Reference: `docker buildx build --build-context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContextPlace {
    /// An image: what follows `docker-image://` (or Buildah's `container-image://`).
    Image(String),
    /// An OCI layout on the disk: what follows `oci-layout://`.
    Layout(String),
    /// A stage of the Dockerfile: what follows `target:`.
    Stage(String),
    /// An address on the network: of a Git repository, an archive or a file.
    Remote(String),
    /// A directory.
    Directory(PathBuf),
}

impl FromStr for ContextArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("expected `NAME=VALUE`")?;
        if name.is_empty() || value.is_empty() {
            return Err("name or value is empty: expected `NAME=VALUE`".to_owned());
        }
        let after =
            |prefixes: &[&str]| prefixes.iter().find_map(|prefix| value.strip_prefix(prefix)).map(str::to_owned);
        let place = if let Some(image) = after(&["docker-image://", "container-image://"]) {
            ContextPlace::Image(image)
        } else if let Some(layout) = after(&["oci-layout://"]) {
            ContextPlace::Layout(layout)
        } else if let Some(stage) = after(&["target:"]) {
            ContextPlace::Stage(stage)
        } else if is_remote(value) {
            ContextPlace::Remote(value.to_owned())
        } else {
            ContextPlace::Directory(value.into())
        };
        Ok(Self { name: name.to_owned(), place })
    }
}

/// Whether the text is an address on the network and no path.
fn is_remote(text: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@", "github.com/"].iter().any(|start| text.starts_with(start))
}
