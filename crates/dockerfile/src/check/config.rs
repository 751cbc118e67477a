//! What a file says about its own checks: `# check=skip=A,B;error=true`, above all or above one instruction.
//!
//! Reference: the Dockerfile reference, "check".

use std::collections::BTreeSet;
use std::ops::Range;

use super::rules::{RULES, Rule};
use crate::ast::{Dockerfile, Head};
use crate::parse::go_bool;
use crate::suggest::nearest;
use crate::text::Text;

/// Which checks are made, and whether a finding ends the build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    skip: Names,
    experimental: Names,
    error: bool,
}

/// Some of the checks.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    All,
    These(BTreeSet<String>),
}

/// Something in an option that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Where, in the text that was read.
    pub(crate) range: Range<usize>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Whether it can be passed over: a name that no check has, which may be one of a later BuildKit.
    pub(crate) harmless: bool,
}

const OPTIONS: [&str; 3] = ["skip", "error", "experimental"];

impl Default for Names {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Names {
    fn contain(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(name),
        }
    }

    fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::These(ours), Self::These(others)) => Self::These(ours | others),
            _ => Self::All,
        }
    }
}

impl Config {
    /// Reads the options of a file's `check` directive, of a comment, or of `BUILDKIT_DOCKERFILE_CHECK`.
    ///
    /// # Errors
    /// What is wrong with the first option that makes no sense.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (config, mistakes) = read(text);
        match mistakes.into_iter().find(|mistake| !mistake.harmless) {
            Some(mistake) => Err(mistake.message),
            None => Ok(config),
        }
    }

    /// Returns what the file's own directive says.
    #[must_use]
    pub fn of_file(file: &Dockerfile) -> Self {
        let directive = file.directives.iter().find(|directive| directive.kind == crate::ast::DirectiveKind::Check);
        directive.map_or_else(Self::default, |directive| read(directive.value.as_str()).0)
    }

    /// Returns what the comments above one instruction say; nothing if they say nothing about checks.
    pub(super) fn of_comments(head: &Head) -> Option<Self> {
        let values = head.comments.iter().filter_map(comment_value);
        values.map(|value| read(value.as_str()).0).reduce(|config, more| Self {
            skip: config.skip.and(&more.skip),
            experimental: config.experimental.and(&more.experimental),
            error: config.error || more.error,
        })
    }

    /// Whether findings of `rule` are shown where `own` is said beside what the file says. Where an experimental one is
    /// asked for, nothing skips it.
    pub(super) fn wants(&self, own: Option<&Self>, rule: &Rule) -> bool {
        let both = |names: fn(&Self) -> &Names| {
            names(self).contain(rule.name) || own.is_some_and(|own| names(own).contain(rule.name))
        };
        if rule.experimental { both(|config| &config.experimental) } else { !both(|config| &config.skip) }
    }

    /// Whether a finding ends the build.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.error
    }
}

/// Returns the options in a comment `check=...`; nothing if it is another comment.
pub(crate) fn comment_value(comment: &Text) -> Option<Text> {
    let text = comment.as_str();
    let at = text.find('=')?;
    let value = comment.slice(at + 1..text.len()).trim();
    (text[..at].trim_end().eq_ignore_ascii_case("check") && !value.is_empty()).then_some(value)
}

/// Reads options; what makes no sense is left out and told.
pub(crate) fn read(text: &str) -> (Config, Vec<Mistake>) {
    let (mut config, mut mistakes) = (Config::default(), Vec::new());
    let mut start = 0;
    for part in text.split(';') {
        let at = start + (part.len() - part.trim_start().len());
        start += part.len() + 1;
        let option = part.trim();
        let mut refuse = |range: Range<usize>, message: String, near: Option<&str>, harmless: bool| {
            let hint = near.map(|near| format!("A similar {} is `{near}`.", if harmless { "one" } else { "option" }));
            mistakes.push(Mistake { range: at + range.start..at + range.end, message, hint, harmless });
        };
        let (key, value) =
            option.split_once('=').map_or((option, None), |(key, value)| (key.trim(), Some(value.trim())));
        match (key, value) {
            ("skip" | "experimental", Some(value)) => {
                let from = option.len() - value.len();
                let names = names(value, |range, name| {
                    let near = nearest(name, RULES.iter().map(|rule| rule.name));
                    let message = format!("there is no check `{name}`");
                    refuse(from + range.start..from + range.end, message, near, true);
                });
                if key == "skip" { config.skip = names } else { config.experimental = names }
            }
            ("error", Some(value)) => {
                config.error = go_bool(value).unwrap_or_else(|| {
                    let message = format!("expected `true` or `false` for `error`, got `{value}`");
                    refuse(0..option.len(), message, None, false);
                    false
                });
            }
            (key, None) if OPTIONS.contains(&key) => {
                refuse(0..option.len(), format!("check option `{key}` has no value"), None, false);
            }
            (key, _) => {
                let message = format!("expected `skip`, `error` or `experimental` as check option, got `{key}`");
                refuse(0..option.len(), message, nearest(key, OPTIONS), false);
            }
        }
    }
    (config, mistakes)
}

fn names(list: &str, mut unknown: impl FnMut(Range<usize>, &str)) -> Names {
    if list == "all" {
        return Names::All;
    }
    let (mut names, mut start) = (BTreeSet::new(), 0);
    for part in list.split(',') {
        let at = start + (part.len() - part.trim_start().len());
        start += part.len() + 1;
        let name = part.trim();
        if !name.is_empty() && super::rules::find(name).is_none() {
            unknown(at..at + name.len(), name);
        }
        names.insert(name.to_owned());
    }
    Names::These(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::rules::find;

    fn wants(options: &str, name: &str) -> bool {
        Config::parse(options).expect("good options").wants(None, find(name).expect("a check"))
    }

    /// A014.
    #[test]
    fn options_choose_the_checks() {
        assert!(wants("error=true", "UndefinedVar"));
        assert!(!wants("skip=StageNameCasing, UndefinedVar ;error=0", "UndefinedVar"));
        assert!(wants("skip=StageNameCasing", "UndefinedVar"));
        assert!(!wants("skip=all", "UndefinedVar"));
        assert!(!wants("error=true", "InvalidDefinitionDescription"));
        assert!(wants("skip=all;experimental=all", "InvalidDefinitionDescription"));
        assert!(wants("experimental=InvalidDefinitionDescription", "InvalidDefinitionDescription"));
        assert!(Config::parse("error=T").expect("good options").is_error());
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let (config, mistakes) = read("skip=UndefinedVra; eror=true;error=maybe");
        assert!(!config.is_error());
        let places: Vec<_> =
            mistakes.iter().map(|mistake| (mistake.range.clone(), mistake.harmless, mistake.hint.as_deref())).collect();
        assert_eq!(
            places,
            [
                (5..17, true, Some("A similar one is `UndefinedVar`.")),
                (19..28, false, Some("A similar option is `error`.")),
                (29..40, false, None),
            ]
        );
        assert_eq!(Config::parse("skip"), Err("check option `skip` has no value".to_owned()));
    }
}
