//! The stable codes of the parser's diagnostics. The plan's codes start at D101 and live beside it.

/// A code and what it means, for the index in `docs/errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The code: `D001`.
    pub code: &'static str,
    /// What it means, in one sentence.
    pub meaning: &'static str,
}
