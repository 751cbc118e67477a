//! Why a step runs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a step runs instead of being known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Miss {
    /// The caller wanted nothing of earlier builds.
    NoCache {
        /// The option that said so.
        option: String,
    },
    /// No result of such a step is known.
    First,
}

impl fmt::Display for Miss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCache { option } => write!(formatter, "`{option}` was given"),
            Self::First => formatter.write_str("no earlier build of it is known"),
        }
    }
}
