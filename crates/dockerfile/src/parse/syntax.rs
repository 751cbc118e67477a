//! The parser's tables, for the page that documents the language.

use super::keyword::{FlagKind, Keyword};
pub(crate) use super::source::LINE_BYTES_MAX;

/// Every instruction: its name, its flags as they are written, and whether heredocs may stand in it.
pub(crate) fn instructions() -> Vec<(&'static str, Vec<String>, bool)> {
    let flag = |(name, kind): &(crate::ast::FlagName, FlagKind)| {
        let name = name.as_str();
        match kind {
            FlagKind::Switch => format!("`--{name}`"),
            FlagKind::Value => format!("`--{name}=`"),
            FlagKind::Values => format!("`--{name}=` (repeatable)"),
        }
    };
    let row =
        |keyword: Keyword| (keyword.as_str(), keyword.flags().iter().map(flag).collect(), keyword.takes_heredocs());
    Keyword::ALL.into_iter().map(row).collect()
}

/// Every option of mounts: its name, its other names, and the types of mounts that have it.
pub(crate) fn mount_options() -> Vec<(&'static str, Vec<&'static str>, Vec<&'static str>)> {
    super::mount::options()
}
