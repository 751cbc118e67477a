//! The names of the instructions, and the flags that each of them has.

use crate::ast::FlagName;

/// An instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
}

/// What may follow a flag's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagKind {
    /// Nothing, `=true` or `=false`.
    Switch,
    /// A value, once.
    Value,
    /// A value, as often as one likes.
    Values,
}

use FlagKind::{Switch, Value, Values};

impl Keyword {
    pub(super) const ALL: [Self; 18] = [
        Self::Add,
        Self::Arg,
        Self::Cmd,
        Self::Copy,
        Self::Entrypoint,
        Self::Env,
        Self::Expose,
        Self::From,
        Self::Healthcheck,
        Self::Label,
        Self::Maintainer,
        Self::Onbuild,
        Self::Run,
        Self::Shell,
        Self::Stopsignal,
        Self::User,
        Self::Volume,
        Self::Workdir,
    ];

    /// Finds an instruction by its name, in any case.
    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keyword| keyword.as_str().eq_ignore_ascii_case(name))
    }

    /// Returns the name in upper case.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Arg => "ARG",
            Self::Cmd => "CMD",
            Self::Copy => "COPY",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::From => "FROM",
            Self::Healthcheck => "HEALTHCHECK",
            Self::Label => "LABEL",
            Self::Maintainer => "MAINTAINER",
            Self::Onbuild => "ONBUILD",
            Self::Run => "RUN",
            Self::Shell => "SHELL",
            Self::Stopsignal => "STOPSIGNAL",
            Self::User => "USER",
            Self::Volume => "VOLUME",
            Self::Workdir => "WORKDIR",
        }
    }

    /// Returns the flags that it has.
    pub(super) fn flags(self) -> &'static [(FlagName, FlagKind)] {
        match self {
            Self::From => &[(FlagName::Platform, Value), (FlagName::After, Values)],
            Self::Run => &[
                (FlagName::Mount, Values),
                (FlagName::Network, Value),
                (FlagName::Security, Value),
                (FlagName::Device, Values),
            ],
            Self::Copy => &[
                (FlagName::From, Value),
                (FlagName::Chown, Value),
                (FlagName::Chmod, Value),
                (FlagName::Link, Switch),
                (FlagName::Parents, Switch),
                (FlagName::Exclude, Values),
            ],
            Self::Add => &[
                (FlagName::Chown, Value),
                (FlagName::Chmod, Value),
                (FlagName::Link, Switch),
                (FlagName::Exclude, Values),
                (FlagName::KeepGitDir, Switch),
                (FlagName::Checksum, Value),
                (FlagName::Unpack, Switch),
            ],
            Self::Healthcheck => &[
                (FlagName::Interval, Value),
                (FlagName::Timeout, Value),
                (FlagName::StartPeriod, Value),
                (FlagName::StartInterval, Value),
                (FlagName::Retries, Value),
            ],
            _ => &[],
        }
    }

    /// Tells whether heredocs may stand in it.
    pub(super) fn takes_heredocs(self) -> bool {
        matches!(self, Self::Run | Self::Copy | Self::Add)
    }
}

/// Returns the instructions that have a flag of this name.
pub(super) fn owners(flag: &str) -> impl Iterator<Item = Keyword> {
    Keyword::ALL.into_iter().filter(move |keyword| keyword.flags().iter().any(|(name, _)| name.as_str() == flag))
}

/// Whether the instruction of this name has this flag.
pub(crate) fn has_flag(keyword: &str, flag: &str) -> bool {
    owners(flag).any(|owner| owner.as_str() == keyword)
}
