//! Why a step runs: one value, one line for people, one name for machines.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The first input of a step that is another one than before, or what else keeps its result from being used.
///
/// Everything that is text here comes from Dockerfiles, file names and caches of other machines: it is printed without
/// control characters, and never whole if it is long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Miss {
    /// A file that the step reads is another one.
    File {
        /// The named context that it is in; none for the build context.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
        /// Where it is: relative to the root of the context.
        path: String,
        /// What of it is another.
        change: FileChange,
    },
    /// The files that the step reads are others, and which is not known.
    Files,
    /// A build argument has another value.
    Arg {
        /// Its name.
        name: String,
        /// What it was.
        old: Value,
        /// What it is.
        new: Value,
    },
    /// A variable of `ENV`, of this file or of the base, has another value.
    Env {
        /// Its name.
        name: String,
        /// What it was.
        old: Value,
        /// What it is.
        new: Value,
    },
    /// The image that the step starts from, or reads, is another one.
    Base {
        /// What it was.
        old: ImageName,
        /// What it is.
        new: ImageName,
    },
    /// The instruction is another one, or new.
    Instruction {
        /// What was written; nothing if there was no such instruction.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<String>,
        /// What is written.
        new: String,
    },
    /// An instruction that came before is gone.
    Removed {
        /// What was written.
        instruction: String,
    },
    /// The step reads the result of another step than before.
    Input {
        /// What it read.
        old: String,
        /// What it reads.
        new: String,
    },
    /// The step is for another platform.
    Platform {
        /// Which it was.
        old: String,
        /// Which it is.
        new: String,
    },
    /// Something that is mounted while the step runs is another.
    Mount {
        /// Where it is mounted, or for what has no place the name of what it is.
        target: String,
        /// Which of its options: as in `--mount`.
        option: String,
        /// What it was.
        old: Value,
        /// What it is.
        new: Value,
    },
    /// Something else that decides what the step does: a flag, the working directory, the user.
    Setting {
        /// As it is written where it is set: `--chown`, `WORKDIR`.
        name: String,
        /// What it was.
        old: Value,
        /// What it is.
        new: Value,
    },
    /// What is at an address on the network is another.
    Remote {
        /// The address, without credentials.
        address: String,
        /// The digest or the commit that was there.
        old: String,
        /// Which is there now.
        new: String,
    },
    /// A step that this one reads from has another result.
    Parent {
        /// The first step that changed.
        step: StepName,
        /// Why it did.
        miss: Box<Miss>,
    },
    /// `--no-cache`.
    NoCache,
    /// `--no-cache-filter` names the step's stage.
    NoCacheFilter {
        /// The stage.
        stage: String,
    },
    /// The result was there, and is gone.
    Evicted {
        /// Why.
        reason: Evicted,
    },
    /// A cache of another machine has the result, or may have it, and it could not be had.
    ImportFailed {
        /// Which cache.
        cache: String,
        /// What went wrong.
        reason: String,
    },
    /// Nothing has changed, and a cache of another machine knows the step and has no result of it: it was not exported, or is
    /// not kept.
    NotExported {
        /// Which cache.
        cache: String,
    },
    /// Another version of stave made what is known, and its results mean something else.
    Version {
        /// Which version it was.
        old: String,
        /// Which it is.
        new: String,
    },
    /// Nothing has changed: the step has never ended well.
    Unfinished {
        /// Whether it failed when it ran last; else it was stopped, or the build ended before it was its turn.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        failed: bool,
    },
    /// Nothing has changed, and there is a result; but what the step asked of the network is not known, or the policies
    /// would say something else of it now.
    Unrecorded,
    /// Nothing has changed, and the result is not here.
    Gone,
    /// The instruction was carried out before, on something else.
    OtherInputs,
    /// The step is carried out for the first time.
    First,
}

/// What of a file is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum FileChange {
    /// Its bytes.
    Content,
    /// Its permissions.
    Mode {
        /// What they were.
        old: u32,
        /// What they are.
        new: u32,
    },
    /// Its owner or group, as numbers.
    Owner {
        /// What they were.
        old: (u32, u32),
        /// What they are.
        new: (u32, u32),
    },
    /// Its type.
    Type {
        /// What it was: `file`, `directory`, `symbolic link`, ...
        old: String,
        /// What it is.
        new: String,
    },
    /// Where a symbolic link points.
    Link {
        /// Where it pointed.
        old: String,
        /// Where it points.
        new: String,
    },
    /// It has another name.
    Renamed {
        /// The new one.
        to: String,
    },
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is there, and a rule leaves it out.
    Ignored {
        /// The ignore file.
        file: String,
        /// Line of the rule, from 1.
        line: usize,
        /// The rule.
        pattern: String,
    },
    /// Its extended attributes.
    Attributes,
    /// The device that it stands for.
    Device,
}

/// A value as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// There is none.
    Unset,
    /// There is one, and it is nobody's business: its name is that of a secret.
    Hidden,
    /// What it is, or how it begins.
    Text(String),
}

/// An image as it was asked for and found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageName {
    /// As it is written, variables expanded.
    pub name: String,
    /// Its digest in the registry, or that of its configuration.
    pub digest: String,
}

/// A step as a person knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepName {
    /// For which platform, where the build is for several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Its stage.
    pub stage: String,
    /// Its number in the stage, from 1.
    pub number: u32,
    /// How many steps the stage has.
    pub of: u32,
    /// The instruction on one line.
    pub title: String,
}

/// Why the result of a step is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evicted {
    /// Somebody had it removed by `prune`. Versions that had no other word said this of what made room, too.
    Pruned,
    /// It was removed to make room.
    Room,
    /// The machine stopped before it was on the disk.
    NotDurable,
    /// It was missing or damaged.
    Damaged,
}

impl Miss {
    /// Returns the name of the cause: it stays the same, whatever the text says.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { change, .. } => match change {
                FileChange::Content => "file-content",
                FileChange::Mode { .. } => "file-mode",
                FileChange::Owner { .. } => "file-owner",
                FileChange::Type { .. } => "file-type",
                FileChange::Link { .. } => "file-link",
                FileChange::Renamed { .. } => "file-renamed",
                FileChange::Added => "file-added",
                FileChange::Removed => "file-removed",
                FileChange::Ignored { .. } => "file-ignored",
                FileChange::Attributes => "file-attributes",
                FileChange::Device => "file-device",
            },
            Self::Files => "files",
            Self::Arg { .. } => "arg",
            Self::Env { .. } => "env",
            Self::Base { .. } => "base",
            Self::Instruction { old: Some(_), .. } => "instruction",
            Self::Instruction { old: None, .. } => "instruction-new",
            Self::Removed { .. } => "instruction-removed",
            Self::Input { .. } => "input",
            Self::Platform { .. } => "platform",
            Self::Mount { .. } => "mount",
            Self::Setting { .. } => "setting",
            Self::Remote { .. } => "remote",
            Self::Parent { .. } => "parent",
            Self::NoCache => "no-cache",
            Self::NoCacheFilter { .. } => "no-cache-filter",
            Self::Evicted { .. } => "evicted",
            Self::ImportFailed { .. } => "import-failed",
            Self::NotExported { .. } => "not-exported",
            Self::Version { .. } => "version",
            Self::Unfinished { .. } => "unfinished",
            Self::Unrecorded => "unrecorded",
            Self::Gone => "gone",
            Self::OtherInputs => "other-inputs",
            Self::First => "first",
        }
    }

    /// Whether an input is another one; else something keeps the result from being used, or there is none.
    fn is_change(&self) -> bool {
        match self {
            Self::NoCache
            | Self::NoCacheFilter { .. }
            | Self::Evicted { .. }
            | Self::ImportFailed { .. }
            | Self::NotExported { .. }
            | Self::Unfinished { .. }
            | Self::Unrecorded
            | Self::Gone
            | Self::OtherInputs
            | Self::First => false,
            Self::File { .. }
            | Self::Files
            | Self::Arg { .. }
            | Self::Env { .. }
            | Self::Base { .. }
            | Self::Instruction { .. }
            | Self::Removed { .. }
            | Self::Input { .. }
            | Self::Platform { .. }
            | Self::Mount { .. }
            | Self::Setting { .. }
            | Self::Remote { .. }
            | Self::Parent { .. }
            | Self::Version { .. } => true,
        }
    }

    /// Returns the cause at the bottom: that of the first step that changed.
    #[must_use]
    pub fn root(&self) -> &Self {
        let mut miss = self;
        while let Self::Parent { miss: below, .. } = miss {
            miss = below;
        }
        miss
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { context, path, change } => {
                write!(out, "`{}` {change}", Plain::new(path))?;
                context.as_ref().map_or(Ok(()), |context| write!(out, " (in the context `{}`)", Plain::new(context)))
            }
            Self::Files => out.write_str("the files that it reads are others"),
            Self::Arg { name, old, new } => changed(out, &format!("ARG {}", Plain::new(name)), old, new),
            Self::Env { name, old, new } => changed(out, &format!("ENV {}", Plain::new(name)), old, new),
            Self::Base { old, new } if old.name == new.name => {
                let (name, new, old) = (Plain::new(&new.name), short(&new.digest), short(&old.digest));
                write!(out, "the base image `{name}` is {new} now, and was {old}")
            }
            Self::Base { old, new } => {
                write!(out, "the base image is `{}`, and was `{}`", Plain::new(&new.name), Plain::new(&old.name))
            }
            Self::Instruction { old: Some(old), new } => write!(out, "the instruction was `{}`", Plain::beside(old, new)),
            Self::Instruction { old: None, .. } => out.write_str("the instruction is new"),
            Self::Removed { instruction } => write!(out, "`{}` before it is gone", Plain::new(instruction)),
            Self::Input { old, new } => write!(out, "it reads {}, and read {}", Plain::new(new), Plain::new(old)),
            Self::Platform { old, new } => write!(out, "it is for {}, and was for {}", Plain::new(new), Plain::new(old)),
            Self::Mount { target, option, old, new } => mount(out, target, option, old, new),
            Self::Setting { name, old, new } => changed(out, name, old, new),
            Self::Remote { address, old, new } => {
                let address = Plain::new(address);
                write!(out, "`{address}` is {} now, and was {}", short(new), short(old))
            }
            Self::Parent { step, miss } if miss.is_change() => write!(out, "{step} changed: {miss}"),
            Self::Parent { step, miss } => write!(out, "{step} had to run: {miss}"),
            Self::NoCache => out.write_str("--no-cache was given"),
            Self::NoCacheFilter { stage } => write!(out, "--no-cache-filter names its stage `{}`", Plain::new(stage)),
            Self::Evicted { reason } => write!(out, "its result is gone: {reason}"),
            Self::ImportFailed { cache, reason } => {
                write!(out, "the cache `{}` could not be used: {}", Plain::new(cache), Plain::new(reason))
            }
            Self::NotExported { cache } => {
                let cache = Plain::new(cache);
                write!(out, "nothing has changed, but the cache `{cache}` has no result of it, as with `mode=min`")
            }
            Self::Version { old, new } => {
                write!(out, "stave {} made what is known, and this is {}", Plain::new(old), Plain::new(new))
            }
            Self::Unfinished { failed: true } => out.write_str("nothing has changed, but it failed the last time"),
            Self::Unfinished { failed: false } => out.write_str("nothing has changed, but it has never finished"),
            Self::Unrecorded => out.write_str(
                "nothing has changed, but what it asked of the network is not known, or would be answered otherwise now",
            ),
            Self::Gone => out.write_str("nothing has changed, but its result is not here"),
            Self::OtherInputs => out.write_str("the instruction was carried out before, on other files"),
            Self::First => out.write_str("it is carried out for the first time"),
        }
    }
}

impl fmt::Display for FileChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content => out.write_str("has other content"),
            Self::Mode { old, new } => write!(out, "has the mode {new:04o}, and had {old:04o}"),
            Self::Owner { old, new } => write!(out, "belongs to {}:{}, and did to {}:{}", new.0, new.1, old.0, old.1),
            Self::Type { old, new } => write!(out, "is a {new}, and was a {old}"),
            Self::Link { old, new } => write!(out, "points to `{}`, and did to `{}`", Plain::new(new), Plain::new(old)),
            Self::Renamed { to } => write!(out, "is called `{}` now", Plain::new(to)),
            Self::Added => out.write_str("was added"),
            Self::Removed => out.write_str("was removed"),
            Self::Ignored { file, line, pattern } => {
                write!(out, "is ignored now, by `{}` in line {line} of `{}`", Plain::new(pattern), Plain::new(file))
            }
            Self::Attributes => out.write_str("has other extended attributes"),
            Self::Device => out.write_str("is another device"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => out.write_str("nothing"),
            Self::Hidden => out.write_str("a value that is not shown"),
            Self::Text(text) => write!(out, "`{}`", Plain::new(text)),
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { platform, stage, number, of, title } = self;
        let platform = platform.as_ref().map(|platform| format!("{platform} ")).unwrap_or_default();
        write!(out, "[{}{} {number}/{of}] {}", Plain::new(&platform), Plain::new(stage), Plain::new(title))
    }
}

impl fmt::Display for Evicted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Pruned => "it was pruned",
            Self::Room => "it was removed to make room",
            Self::NotDurable => "the machine stopped before it was on the disk",
            Self::Damaged => "its files are missing or damaged",
        })
    }
}

fn changed(out: &mut fmt::Formatter<'_>, what: &str, old: &Value, new: &Value) -> fmt::Result {
    match (old, new) {
        (Value::Hidden, Value::Hidden) => write!(out, "{what} has another value, which is not shown"),
        (old, Value::Unset) => write!(out, "{what} is not set, and was {old}"),
        (Value::Unset, new) => write!(out, "{what} is {new}, and was not set"),
        (Value::Text(old), Value::Text(new)) => {
            write!(out, "{what} is `{}`, and was `{}`", Plain::beside(new, old), Plain::beside(old, new))
        }
        (old, new) => write!(out, "{what} is {new}, and was {old}"),
    }
}

fn mount(out: &mut fmt::Formatter<'_>, target: &str, option: &str, old: &Value, new: &Value) -> fmt::Result {
    let target = Plain::new(target);
    match (option, old, new) {
        ("type", Value::Unset, new) => write!(out, "the {new} mount `{target}` is new"),
        ("type", old, Value::Unset) => write!(out, "the {old} mount `{target}` is gone"),
        _ => changed(out, &format!("{} of the mount `{target}`", Plain::new(option)), old, new),
    }
}

/// The first digits of a digest, or of a commit.
fn short(digest: &str) -> String {
    let (kind, digits) = digest.split_once(':').map_or(("", digest), |(kind, digits)| (kind, digits));
    let digits: String = digits.chars().take(12).collect();
    let text = if kind.is_empty() { digits } else { format!("{kind}:{digits}") };
    Plain::new(&text).to_string()
}

/// Text of others on one line: without control characters and of bounded length.
struct Plain<'a> {
    text: &'a str,
    /// How many of its characters are left out at its beginning.
    skipped: usize,
}

/// Most characters of one text in the line for people.
const SHOWN_MAX: usize = 120;

/// How many of them come before that in which a text differs from another, where both begin with many that are the same.
const SHOWN_BEFORE: usize = 40;

impl<'a> Plain<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, skipped: 0 }
    }

    /// The part of a text in which it differs from another.
    fn beside(text: &'a str, other: &str) -> Self {
        let same = text.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
        let is_seen = text.chars().count() <= SHOWN_MAX || same + SHOWN_BEFORE <= SHOWN_MAX;
        Self { text, skipped: if is_seen { 0 } else { same - SHOWN_BEFORE } }
    }
}

impl fmt::Display for Plain<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.skipped > 0 {
            out.write_str("...")?;
        }
        for (count, char) in self.text.chars().skip(self.skipped).enumerate() {
            if count == SHOWN_MAX {
                return out.write_str("...");
            }
            // What changes the direction of a line is as good as a control character.
            if char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                write!(out, "{}", char.escape_default())?;
            } else {
                write!(out, "{char}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_however_much_is_the_same() {
        let same = "\u{e4}".repeat(300);
        let value = |end: &str| Value::Text(format!("{same}{end}"));
        let arg = Miss::Arg { name: "X".to_owned(), old: value("old"), new: value("new") };
        let shown = "\u{e4}".repeat(SHOWN_BEFORE);
        assert_eq!(arg.to_string(), format!("ARG X is `...{shown}new`, and was `...{shown}old`"));
        let (old, new) = (format!("RUN {same} && a {same}"), format!("RUN {same}"));
        let text = Miss::Instruction { old: Some(old), new }.to_string();
        assert!(text.starts_with("the instruction was `...\u{e4}") && text.contains(" && a \u{e4}"), "{text}");
        assert!(text.ends_with("\u{e4}...`") && text.chars().count() < 2 * SHOWN_MAX, "{text}");
        let (old, new) = (format!("ADD a {same}"), format!("ADD b {same}"));
        let text = Miss::Instruction { old: Some(old), new }.to_string();
        assert!(text.starts_with("the instruction was `ADD a "), "what differs at the beginning is there: {text}");
    }
}
