//! The syntax tree: what was written, with nothing expanded and nothing resolved.
//!
//! All words are [`Text`]s: unquoting of flags, JSON and continuation lines is done, variables and the quotes of shell
//! words are left as they were written (for [`crate::expand`]).

use crate::span::Span;
use crate::text::Text;

/// A whole Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// Parser directives in the order of the file.
    pub directives: Vec<Directive>,
    /// The escape character: a backslash, or a backtick if a directive says so.
    pub escape: char,
    /// `ARG` instructions before the first `FROM`.
    pub global_args: Vec<Instruction>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
}

impl Dockerfile {
    /// Returns a file without anything in it.
    #[must_use]
    pub fn empty() -> Self {
        Self { directives: Vec::new(), escape: '\\', global_args: Vec::new(), stages: Vec::new() }
    }
}

/// A parser directive: `# syntax=...`, `# escape=...`, `# check=...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The whole line, without its end.
    pub span: Span,
    /// Which one.
    pub kind: DirectiveKind,
    /// What stands after `=`, without blanks at both ends.
    pub value: Text,
}

/// The directives that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DirectiveKind {
    /// Which frontend should read this file.
    Syntax,
    /// Which character escapes.
    Escape,
    /// How the file should be checked.
    Check,
}

/// `FROM` and all instructions up to the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Where `FROM` stands, and its flags.
    pub head: Head,
    /// The image or stage that it starts from; a word to expand.
    pub base: Text,
    /// What stands after `AS`.
    pub name: Option<StageName>,
    /// The instructions, without `FROM`.
    pub instructions: Vec<Instruction>,
}

/// The name of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageName {
    /// In lower case: names of stages are equal in any case.
    pub name: String,
    /// As it was written.
    pub written: Text,
}

/// What every instruction has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// All of the instruction: from its keyword to its last byte, with the bodies of heredocs.
    pub span: Span,
    /// The keyword as it was written.
    pub keyword: Text,
    /// The whole instruction on one line: continuation lines joined, comments dropped, without the bodies of heredocs,
    /// without blanks at both ends.
    pub line: Text,
    /// Flags in the order in which they were written, already checked against what the instruction knows.
    pub flags: Vec<Flag>,
    /// The comment lines directly above, the topmost first: the text after `#`, without blanks at both ends.
    pub comments: Vec<Text>,
}

impl Head {
    /// Returns the flag `name`; of one that may be repeated, the first.
    #[must_use]
    pub fn flag(&self, name: FlagName) -> Option<&Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }

    /// Returns all flags of this name.
    pub fn flags_named(&self, name: FlagName) -> impl Iterator<Item = &Flag> {
        self.flags.iter().filter(move |flag| flag.name == name)
    }
}

/// `--name`, `--name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// All of it, from the first dash.
    pub span: Span,
    /// Which one.
    pub name: FlagName,
    /// The name with its dashes.
    pub name_span: Span,
    /// The value without the quotes that were around it. Of a switch it is `true` or `false`, in any case, or empty
    /// if nothing was written (which means `true`).
    pub value: Text,
}

impl Flag {
    /// Returns whether a switch is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.value.as_str().eq_ignore_ascii_case("false")
    }
}

/// All flags of all instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlagName {
    /// `FROM --platform=`
    Platform,
    /// `FROM --after=`, repeatable.
    After,
    /// `RUN --mount=`, repeatable; see [`Run::mounts`].
    Mount,
    /// `RUN --network=`: `default`, `none` or `host`.
    Network,
    /// `RUN --security=`: `sandbox` or `insecure`.
    Security,
    /// `RUN --device=`, repeatable.
    Device,
    /// `COPY --from=`
    From,
    /// `COPY --chown=`, `ADD --chown=`
    Chown,
    /// `COPY --chmod=`, `ADD --chmod=`
    Chmod,
    /// `COPY --link`, `ADD --link`: a switch.
    Link,
    /// `COPY --parents`: a switch.
    Parents,
    /// `COPY --exclude=`, `ADD --exclude=`, repeatable.
    Exclude,
    /// `ADD --keep-git-dir`: a switch.
    KeepGitDir,
    /// `ADD --checksum=`
    Checksum,
    /// `ADD --unpack`: a switch.
    Unpack,
    /// `HEALTHCHECK --interval=`
    Interval,
    /// `HEALTHCHECK --timeout=`
    Timeout,
    /// `HEALTHCHECK --start-period=`
    StartPeriod,
    /// `HEALTHCHECK --start-interval=`
    StartInterval,
    /// `HEALTHCHECK --retries=`
    Retries,
}

impl FlagName {
    /// Returns the name without dashes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::After => "after",
            Self::Mount => "mount",
            Self::Network => "network",
            Self::Security => "security",
            Self::Device => "device",
            Self::From => "from",
            Self::Chown => "chown",
            Self::Chmod => "chmod",
            Self::Link => "link",
            Self::Parents => "parents",
            Self::Exclude => "exclude",
            Self::KeepGitDir => "keep-git-dir",
            Self::Checksum => "checksum",
            Self::Unpack => "unpack",
            Self::Interval => "interval",
            Self::Timeout => "timeout",
            Self::StartPeriod => "start-period",
            Self::StartInterval => "start-interval",
            Self::Retries => "retries",
        }
    }
}

/// One instruction other than `FROM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Where it stands, and its flags.
    pub head: Head,
    /// What it is.
    pub kind: InstructionKind,
}

impl Instruction {
    /// Returns its heredocs, in order; those of an `ONBUILD` are its trigger's.
    #[must_use]
    pub fn heredocs(&self) -> Vec<&Heredoc> {
        match &self.kind {
            InstructionKind::Run(run) => run.heredocs.iter().collect(),
            InstructionKind::Copy(copy) | InstructionKind::Add(copy) => copy.heredocs().collect(),
            InstructionKind::Onbuild(onbuild) => onbuild.trigger.heredocs(),
            _ => Vec::new(),
        }
    }
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// `ADD`
    Add(Copy),
    /// `ARG`
    Arg(Vec<ArgDeclaration>),
    /// `CMD`
    Cmd(Command),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `ENV`
    Env(Pairs),
    /// `EXPOSE`: words to expand, where unquoted values are split again.
    Expose(Vec<Text>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Pairs),
    /// `MAINTAINER`: all of the line, not expanded.
    Maintainer(Text),
    /// `ONBUILD`
    Onbuild(Box<Onbuild>),
    /// `RUN`
    Run(Run),
    /// `SHELL`: not expanded.
    Shell(Vec<Text>),
    /// `STOPSIGNAL`: one word to expand.
    Stopsignal(Text),
    /// `USER`: one word to expand.
    User(Text),
    /// `VOLUME`: words to expand.
    Volume(Vec<Text>),
    /// `WORKDIR`: one word to expand; may hold blanks.
    Workdir(Text),
    /// An instruction that has a mistake; there is a diagnostic about it.
    Unreadable,
}

/// `NAME` or `NAME=default` of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// A word to expand.
    pub name: Text,
    /// A word to expand; `Some` and empty for `NAME=`.
    pub default: Option<Text>,
}

/// What `CMD`, `ENTRYPOINT`, `RUN` and `HEALTHCHECK CMD` run. Never expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A JSON array: the arguments themselves.
    Exec(Vec<Text>),
    /// All the rest of the line, for the shell. Empty if nothing was written.
    Shell(Text),
}

/// What `RUN` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What is run. With heredocs it is always of the shell form.
    pub command: Command,
    /// The heredocs of the command, in order.
    pub heredocs: Vec<Heredoc>,
    /// The options of its `--mount` flags, in order.
    pub mounts: Vec<Mount>,
}

impl Run {
    /// Returns the heredoc that is all of the command: its body is the script, with nothing else on the line.
    #[must_use]
    pub fn sole_heredoc(&self) -> Option<&Heredoc> {
        let (Command::Shell(line), [heredoc]) = (&self.command, self.heredocs.as_slice()) else { return None };
        (heredoc.marker.span() == line.span()).then_some(heredoc)
    }

    /// Returns the script for the shell, with the bodies of all heredocs; nothing for the exec form.
    #[must_use]
    pub fn script(&self) -> Option<String> {
        let Command::Shell(line) = &self.command else { return None };
        if let Some(heredoc) = self.sole_heredoc() {
            return Some(heredoc.content().as_str().to_owned());
        }
        let mut script = line.as_str().to_owned();
        for heredoc in &self.heredocs {
            script.push('\n');
            script.push_str(heredoc.body.as_str());
            script.push_str(&heredoc.name);
        }
        Some(script)
    }
}

/// One `--mount=key=value,key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The value of the flag.
    pub span: Span,
    /// The options, in order.
    pub options: Vec<MountOption>,
}

/// One option of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// Which one.
    pub key: MountKey,
    /// Where its name stands.
    pub key_span: Span,
    /// A word to expand (but for `from`); `None` if there is no `=`.
    pub value: Option<Text>,
}

/// The options that mounts have; names that mean the same are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MountKey {
    /// `type`
    Type,
    /// `from`
    From,
    /// `source`, `src`
    Source,
    /// `target`, `dst`, `destination`
    Target,
    /// `readonly`, `ro`
    ReadOnly,
    /// `readwrite`, `rw`
    ReadWrite,
    /// `id`
    Id,
    /// `sharing`
    Sharing,
    /// `required`
    Required,
    /// `size`
    Size,
    /// `mode`
    Mode,
    /// `uid`
    Uid,
    /// `gid`
    Gid,
    /// `env`
    Env,
    /// `nosuid`
    NoSuid,
    /// `nodev`
    NoDev,
    /// `noexec`
    NoExec,
    /// `U`: what is shown belongs to the user of the command.
    ForUser,
    /// `bind-propagation`, or its value alone.
    Propagation,
    /// `bind-nonrecursive`
    NonRecursive,
    /// `relabel`, or `z` and `Z`.
    Relabel,
    /// `consistency`
    Consistency,
    /// `no-dereference`: a link that is the source is mounted itself.
    NoDereference,
}

/// What `COPY` and `ADD` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What is copied, in order; at least one.
    pub sources: Vec<Source>,
    /// Where to; a word to expand.
    pub dest: Text,
}

impl Copy {
    /// Returns the sources that are written in the Dockerfile itself.
    pub fn heredocs(&self) -> impl Iterator<Item = &Heredoc> {
        self.sources.iter().filter_map(|source| match source {
            Source::Heredoc(heredoc) => Some(heredoc),
            Source::Path(_) => None,
        })
    }
}

/// One source of a `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path, pattern or address; a word to expand.
    Path(Text),
    /// A file written in the Dockerfile.
    Heredoc(Heredoc),
}

/// A heredoc: `<<NAME` and the lines up to `NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The whole word on the instruction's line: `3<<-"NAME"`.
    pub marker: Text,
    /// The name without quotes.
    pub name: String,
    /// The file descriptor in front of `<<`, 0 if there is none.
    pub descriptor: u32,
    /// Whether it was written `<<-`: tabs at the beginning of lines do not count.
    pub strip_tabs: bool,
    /// Whether variables in the body are expanded: no part of the name was quoted.
    pub expand: bool,
    /// The lines as they were written, with line feeds at their ends, without the last one that repeats the name.
    pub body: Text,
}

impl Heredoc {
    /// Returns the body, without the tabs that do not count; nothing is expanded.
    #[must_use]
    pub fn content(&self) -> Text {
        if !self.strip_tabs {
            return self.body.clone();
        }
        let mut content = Text::empty_at(self.body.span().start);
        let mut at = 0;
        for line in self.body.as_str().split_inclusive('\n') {
            let tabs = line.len() - line.trim_start_matches('\t').len();
            content.push(&self.body.slice(at + tabs..at + line.len()));
            at += line.len();
        }
        content
    }
}

/// What `ENV` and `LABEL` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// Whether it was written in the old form `ENV name value with blanks`.
    pub legacy: bool,
    /// Names and values, in order; at least one.
    pub pairs: Vec<Pair>,
}

/// One name and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// A word to expand.
    pub name: Text,
    /// A word to expand.
    pub value: Text,
}

/// What `HEALTHCHECK` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`: what the base says does not count.
    None,
    /// `HEALTHCHECK CMD ...`
    Command {
        /// What is run.
        command: Command,
        /// Time between two checks in nanoseconds; `None` is the base's.
        interval: Option<i64>,
        /// Time after which a check has failed, in nanoseconds.
        timeout: Option<i64>,
        /// Time in which failures don't count, in nanoseconds.
        start_period: Option<i64>,
        /// Time between two checks in the start period, in nanoseconds.
        start_interval: Option<i64>,
        /// Failures in a row after which a container is unhealthy.
        retries: Option<i64>,
    },
}

/// What `ONBUILD` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The instruction to run in a child; it was parsed so that its mistakes are found here.
    pub trigger: Instruction,
    /// Its text as images store it, with the bodies of heredocs.
    pub text: String,
}
