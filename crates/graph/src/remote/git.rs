//! The address of a Git repository, with what its query, its fragment and flags want of it.

use thiserror::Error;

use super::{GitSource, GitTime, decoded};

/// A Git address as written, before flags of an instruction are joined with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitAddress {
    source: GitSource,
    keep_git_dir: Option<bool>,
}

impl GitAddress {
    /// Returns what is wanted where nothing but the address says so: a context.
    #[must_use]
    pub fn into_source(self) -> GitSource {
        self.source
    }

    /// Returns what is wanted where an instruction has flags too; `None` is a flag that is not written.
    ///
    /// # Errors
    /// If a flag contradicts the address, or the checksum is none of a commit.
    pub fn with_flags(
        mut self,
        keep_git_dir: Option<bool>,
        checksum: Option<&str>,
    ) -> Result<GitSource, GitAddressError> {
        if let (Some(flag), Some(address)) = (keep_git_dir, self.keep_git_dir)
            && flag != address
        {
            return Err(GitAddressError::Conflict {
                part: "keep-git-dir",
                first: address.to_string(),
                second: flag.to_string(),
            });
        }
        self.source.keep_git_dir = keep_git_dir.or(self.keep_git_dir).unwrap_or(false);
        if let Some(checksum) = checksum {
            set(&mut self.source.checksum, "checksum", checksum_of(checksum)?)?;
        }
        Ok(self.source)
    }
}

/// Where an address is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPlace {
    /// In an instruction, where `github.com/a/b` is a path.
    Instruction,
    /// As a context, where `github.com/a/b` is a repository.
    Context,
}

/// Why an address of a Git repository cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GitAddressError {
    /// A part has a value that it cannot have.
    #[error("the {part} `{value}` of the Git address {reason}")]
    Part {
        /// The part.
        part: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The query has a name that means nothing.
    #[error("the Git address has the unknown query `{name}`; known are {}", QUERIES.join(", "))]
    UnknownQuery {
        /// The name.
        name: String,
    },
    /// A query has no value but needs one.
    #[error("the query `{name}` of the Git address has no value")]
    NoValue {
        /// The name.
        name: String,
    },
    /// A query is there twice.
    #[error("the query `{name}` of the Git address is given twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// Two parts say different things.
    #[error("the {part} of the Git address is both `{first}` and `{second}`")]
    Conflict {
        /// What they speak about.
        part: &'static str,
        /// What the one says.
        first: String,
        /// What the other says.
        second: String,
    },
    /// A commit is to be fetched whose whole name is not given.
    #[error("`fetch-by-commit` of the Git address needs the checksum of a commit with all its digits")]
    CommitNeeded,
}

/// What a query can say.
const QUERIES: [&str; 10] =
    ["ref", "tag", "branch", "subdir", "checksum", "commit", "keep-git-dir", "submodules", "mtime", "fetch-by-commit"];

/// Most bytes of an address.
const ADDRESS_BYTES_MAX: usize = 8 * 1024;

/// Parses `text` if it is an address of a Git repository; `None` if it is something else.
#[must_use]
pub fn parse_git(text: &str, place: AddressPlace) -> Option<Result<GitAddress, GitAddressError>> {
    let whole = match place {
        AddressPlace::Context if text.starts_with("github.com/") => format!("https://{text}"),
        _ => text.to_owned(),
    };
    let known_as_git = whole.len() > text.len();
    let parts = Parts::of(&whole);
    let base = match parts.base.split_once("://") {
        Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
            lower @ ("ssh" | "git") => Base::Url { scheme: lower.to_owned(), rest },
            lower @ ("http" | "https") if known_as_git || ends_as_repository(rest) => {
                Base::Url { scheme: lower.to_owned(), rest }
            }
            _ => return None,
        },
        None => Base::Scp(scp_style(parts.base)?),
    };
    Some(parse_parts(&base, &parts))
}

/// Whether the path of `rest`, which follows `scheme://`, ends with `.git`, as that of a repository does.
fn ends_as_repository(rest: &str) -> bool {
    rest.split_once('/').is_some_and(|(_, path)| path.strip_suffix(".git").is_some())
}

/// An address cut where a query and a fragment begin.
struct Parts<'a> {
    base: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (text, fragment) = match text.split_once('#') {
            Some((text, fragment)) => (text, Some(fragment)),
            None => (text, None),
        };
        match text.split_once('?') {
            Some((base, query)) => Self { base, query: Some(query), fragment },
            None => Self { base: text, query: None, fragment },
        }
    }
}

/// What is in front of query and fragment.
enum Base<'a> {
    Url { scheme: String, rest: &'a str },
    Scp(Scp<'a>),
}

/// `user@host:path`
struct Scp<'a> {
    user: &'a str,
    host: &'a str,
    path: &'a str,
}

fn scp_style(text: &str) -> Option<Scp<'_>> {
    let (user, rest) = text.split_once('@')?;
    let (host, path) = rest.split_once(':')?;
    let plain = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || more.contains(char))
    };
    (plain(user, "-_") && plain(host, "-.")).then_some(Scp { user, host, path })
}

fn parse_parts(base: &Base<'_>, parts: &Parts<'_>) -> Result<GitAddress, GitAddressError> {
    let url = match base {
        Base::Url { scheme, rest } => {
            check_url(rest)?;
            format!("{scheme}://{rest}")
        }
        Base::Scp(Scp { user, host, path }) => {
            check_word("user", user)?;
            check_word("host", host)?;
            check_word("path", path)?;
            format!("{user}@{host}:{path}")
        }
    };
    if url.len() > ADDRESS_BYTES_MAX {
        let value = url.chars().take(40).collect();
        return Err(GitAddressError::Part { part: "path", value, reason: "is too long" });
    }
    let (mut reference, mut subdir) = (None, None);
    if let Some(fragment) = parts.fragment {
        let text = match base {
            Base::Url { .. } => unescaped("fragment", fragment)?,
            Base::Scp(_) => fragment.to_owned(),
        };
        let (name, directory) = text.split_once(':').unwrap_or((&text, ""));
        if !name.is_empty() {
            reference = Some(reference_of(name)?);
        }
        subdir = subdir_of(directory)?;
    }
    let source = GitSource {
        url,
        reference,
        subdir,
        keep_git_dir: false,
        submodules: true,
        checksum: None,
        mtime: GitTime::Checkout,
        fetch_by_commit: false,
    };
    let mut address = GitAddress { source, keep_git_dir: None };
    apply_query(&mut address, parts.query.unwrap_or_default())?;
    address.source.keep_git_dir = address.keep_git_dir.unwrap_or(false);
    Ok(address)
}

/// Checks what follows `scheme://`.
fn check_url(rest: &str) -> Result<(), GitAddressError> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, place) = match authority.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, authority),
    };
    if let Some(user) = user
        && (user.starts_with('-') || user.chars().any(is_unusable))
    {
        let reason = "begins with `-` or has characters that an address cannot have";
        return Err(GitAddressError::Part { part: "user", value: "xxxxx".to_owned(), reason });
    }
    let (host, port) = match place.rfind(']') {
        Some(end) => place.split_at(end + 1),
        None => place.find(':').map_or((place, ""), |colon| place.split_at(colon)),
    };
    check_word("host", host)?;
    let port_is_number = port.strip_prefix(':').is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if !(port.is_empty() || port.starts_with(':') && port_is_number) {
        let value = port.trim_start_matches(':').to_owned();
        return Err(GitAddressError::Part { part: "port", value, reason: "is not a number from 1 to 65535" });
    }
    check_word("path", path)
}

/// What a program must not take for an option, and no protocol carries.
fn check_word(part: &'static str, value: &str) -> Result<(), GitAddressError> {
    let reason = if value.is_empty() {
        "is empty"
    } else if value.starts_with('-') {
        "begins with `-`, like an option"
    } else if value.chars().any(is_unusable) {
        "has spaces or control characters"
    } else {
        return Ok(());
    };
    Err(GitAddressError::Part { part, value: value.escape_default().to_string(), reason })
}

fn is_unusable(char: char) -> bool {
    char.is_control() || char.is_whitespace()
}

fn apply_query(address: &mut GitAddress, query: &str) -> Result<(), GitAddressError> {
    let mut seen: Vec<String> = Vec::new();
    let (mut tag, mut branch) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (unescaped("query", name)?, unescaped("query", value)?);
        if !QUERIES.contains(&name.as_str()) {
            return Err(GitAddressError::UnknownQuery { name });
        }
        if seen.contains(&name) {
            return Err(GitAddressError::Twice { name });
        }
        let is_switch = matches!(name.as_str(), "submodules" | "keep-git-dir" | "fetch-by-commit");
        if value.is_empty() && !is_switch {
            return Err(GitAddressError::NoValue { name });
        }
        let source = &mut address.source;
        match name.as_str() {
            "ref" => set(&mut source.reference, "reference", reference_of(&value)?)?,
            "tag" => tag = Some(value),
            "branch" => branch = Some(value),
            "subdir" => match subdir_of(&value)? {
                Some(subdir) => set(&mut source.subdir, "subdir", subdir)?,
                None if source.subdir.is_none() => {}
                None => {
                    let first = source.subdir.take().unwrap_or_default();
                    return Err(GitAddressError::Conflict { part: "subdir", first, second: value });
                }
            },
            "checksum" | "commit" => set(&mut source.checksum, "checksum", checksum_of(&value)?)?,
            "keep-git-dir" => address.keep_git_dir = Some(switch("keep-git-dir", &value)?),
            "submodules" => source.submodules = switch("submodules", &value)?,
            "mtime" => source.mtime = time_of(&value)?,
            _ => source.fetch_by_commit = switch("fetch-by-commit", &value)?,
        }
        seen.push(name);
    }
    if let (Some(tag), Some(branch)) = (&tag, &branch) {
        let (first, second) = (tag.clone(), branch.clone());
        return Err(GitAddressError::Conflict { part: "reference", first, second });
    }
    for (prefix, name) in [("refs/tags/", tag), ("refs/heads/", branch)] {
        if let Some(name) = name {
            let short = name.strip_prefix(prefix).unwrap_or(&name);
            let whole = format!("{prefix}{}", reference_of(short)?);
            set(&mut address.source.reference, "reference", whole)?;
        }
    }
    let source = &mut address.source;
    // An address that names a commit and nothing else means that commit, not whatever is the newest.
    if source.reference.is_none() && source.checksum.as_deref().is_some_and(is_whole_commit) {
        source.reference.clone_from(&source.checksum);
    }
    if source.fetch_by_commit && !source.checksum.as_deref().is_some_and(is_whole_commit) {
        return Err(GitAddressError::CommitNeeded);
    }
    Ok(())
}

/// Sets what nobody said yet, or what was said the same way.
fn set(place: &mut Option<String>, part: &'static str, value: String) -> Result<(), GitAddressError> {
    match place {
        Some(first) if *first != value => Err(GitAddressError::Conflict { part, first: first.clone(), second: value }),
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

fn switch(part: &'static str, value: &str) -> Result<bool, GitAddressError> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(GitAddressError::Part { part, value: other.to_owned(), reason: "is neither true nor false" }),
    }
}

fn time_of(value: &str) -> Result<GitTime, GitAddressError> {
    match value {
        "checkout" => Ok(GitTime::Checkout),
        "commit" => Ok(GitTime::Commit),
        other => Err(GitAddressError::Part {
            part: "mtime",
            value: other.to_owned(),
            reason: "is neither `checkout` nor `commit`",
        }),
    }
}

/// Checks the name of a reference, whoever gave it: the user or the server.
///
/// # Errors
/// If it could be taken for an option or for a rule of its own (`a:b`, `+a`, `^a`, `a*`), or is no name at all.
///
/// Reference: git-check-ref-format(1).
pub fn reference_of(name: &str) -> Result<String, GitAddressError> {
    let wrong = |reason| GitAddressError::Part { part: "reference", value: name.escape_default().to_string(), reason };
    if name.is_empty() || name == "@" {
        return Err(wrong("is no name"));
    }
    if name.starts_with('-') || name.contains("/-") {
        return Err(wrong("begins with `-`, like an option"));
    }
    if name.starts_with('+') || name.chars().any(|char| is_unusable(char) || "~^:?*[\\".contains(char)) {
        return Err(wrong("has a character that no reference can have"));
    }
    let component_is_wrong = |component: &str| {
        component.is_empty()
            || component.starts_with('.')
            || std::path::Path::new(component).extension().is_some_and(|end| end == "lock")
    };
    if name.contains("..") || name.contains("@{") || name.ends_with('.') || name.split('/').any(component_is_wrong) {
        return Err(wrong("is not the name of a branch, a tag or a commit"));
    }
    Ok(name.to_owned())
}

/// Returns the directory, clean and relative; none is the whole repository.
fn subdir_of(text: &str) -> Result<Option<String>, GitAddressError> {
    let wrong = |reason| GitAddressError::Part { part: "subdir", value: text.escape_default().to_string(), reason };
    if text.chars().any(char::is_control) {
        return Err(wrong("has control characters"));
    }
    let mut clean: Vec<&str> = Vec::new();
    for component in text.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                clean.pop().ok_or_else(|| wrong("leads out of the repository"))?;
            }
            component if component.eq_ignore_ascii_case(".git") => {
                return Err(wrong("names what Git itself keeps there"));
            }
            component => clean.push(component),
        }
    }
    Ok((!clean.is_empty()).then(|| clean.join("/")))
}

/// The fewest digits by which a commit can be told: Git's own limit.
const CHECKSUM_DIGITS_MIN: usize = 4;

/// Digits of a commit in a repository of SHA-256.
const CHECKSUM_DIGITS_MAX: usize = 64;

fn checksum_of(text: &str) -> Result<String, GitAddressError> {
    let wrong = |reason| GitAddressError::Part { part: "checksum", value: text.escape_default().to_string(), reason };
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong("is not the hexadecimal name of a commit"));
    }
    if text.len() < CHECKSUM_DIGITS_MIN {
        return Err(wrong("has fewer than 4 digits"));
    }
    if text.len() > CHECKSUM_DIGITS_MAX {
        return Err(wrong("has more digits than a commit"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Whether `text` is the name of a commit with all its digits: 40 of SHA-1 or 64 of SHA-256.
#[must_use]
pub fn is_whole_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn unescaped(part: &'static str, text: &str) -> Result<String, GitAddressError> {
    let reason = "has a `%` that two hexadecimal digits of UTF-8 text don't follow";
    decoded(text).ok_or_else(|| GitAddressError::Part { part, value: text.escape_default().to_string(), reason })
}
