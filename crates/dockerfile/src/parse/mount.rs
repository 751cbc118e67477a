//! The options of `RUN --mount=type=cache,target=/c`.
//!
//! Names of options are checked here, and values too unless they have variables in them: those are known only later.
//!
//! Reference: the Dockerfile reference, "RUN --mount". The list is a CSV record (RFC 4180).

use super::Parser;
use super::directives::go_bool;
use super::flags::list_or;
use crate::ast::{Flag, Mount, MountKey, MountOption};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::suggest::nearest;
use crate::text::Text;

/// The names of the options, those that say it best first.
const KEYS: [(&str, MountKey); 35] = [
    ("type", MountKey::Type),
    ("from", MountKey::From),
    ("source", MountKey::Source),
    ("target", MountKey::Target),
    ("readonly", MountKey::ReadOnly),
    ("readwrite", MountKey::ReadWrite),
    ("id", MountKey::Id),
    ("sharing", MountKey::Sharing),
    ("required", MountKey::Required),
    ("size", MountKey::Size),
    ("mode", MountKey::Mode),
    ("uid", MountKey::Uid),
    ("gid", MountKey::Gid),
    ("env", MountKey::Env),
    ("nosuid", MountKey::NoSuid),
    ("nodev", MountKey::NoDev),
    ("noexec", MountKey::NoExec),
    ("U", MountKey::ForUser),
    ("bind-propagation", MountKey::Propagation),
    ("bind-nonrecursive", MountKey::NonRecursive),
    ("relabel", MountKey::Relabel),
    ("consistency", MountKey::Consistency),
    ("no-dereference", MountKey::NoDereference),
    ("src", MountKey::Source),
    ("dst", MountKey::Target),
    ("destination", MountKey::Target),
    ("ro", MountKey::ReadOnly),
    ("rw", MountKey::ReadWrite),
    ("z", MountKey::Relabel),
    ("private", MountKey::Propagation),
    ("rprivate", MountKey::Propagation),
    ("shared", MountKey::Propagation),
    ("rshared", MountKey::Propagation),
    ("slave", MountKey::Propagation),
    ("rslave", MountKey::Propagation),
];

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARING: [&str; 3] = ["shared", "private", "locked"];
const PROPAGATION: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
const RELABEL: [&str; 2] = ["shared", "private"];

impl Parser<'_> {
    /// Reads the value of one `--mount`.
    pub(super) fn mount(&mut self, flag: &Flag) -> Option<Mount> {
        let fields = match fields(&flag.value) {
            Ok(fields) => fields,
            Err(problem) => {
                self.say(problem);
                return None;
            }
        };
        let options: Vec<MountOption> = fields.iter().filter_map(|field| self.mount_option(field)).collect();
        let mount = Mount { span: flag.value.span(), options };
        if mount.options.len() == fields.len() {
            self.check_mount(flag, &mount);
        }
        Some(mount)
    }

    fn mount_option(&mut self, field: &Text) -> Option<MountOption> {
        let text = field.as_str();
        let name_end = text.find('=').unwrap_or(text.len());
        let name = text[..name_end].to_ascii_lowercase();
        let key_span = field.span_of(0..name_end);
        let Some((_, key)) = KEYS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(&name)) else {
            let near = nearest(&name, KEYS.map(|(known, _)| known));
            let diagnostic =
                Diagnostic::error(codes::UNKNOWN_MOUNT_OPTION, key_span, format!("unknown mount option `{name}`"))
                    .maybe_hint(near.map(|near| format!("An option with a similar name is `{near}`.")));
            self.say(diagnostic);
            return None;
        };
        let value = (name_end < text.len()).then(|| field.slice(name_end + 1..text.len()));
        let option = MountOption { key, key_span, value };
        match value_problem(&option, &name).or_else(|| without_effect(&option, &name)) {
            Some(remark) => {
                let is_option = !remark.is_error();
                self.say(remark);
                is_option.then_some(option)
            }
            None => Some(option),
        }
    }

    /// Checks the options against the mount's type, if that is known.
    fn check_mount(&mut self, flag: &Flag, mount: &Mount) {
        let written = mount.options.iter().rev().find(|option| option.key == MountKey::Type);
        let kind = match written.and_then(|option| option.value.as_ref()) {
            Some(value) if has_variable(value.as_str()) => return,
            Some(value) => value.as_str().to_ascii_lowercase(),
            None => "bind".to_owned(),
        };
        for option in mount.options.iter().filter(|option| !has(&kind, option.key)) {
            let name = name(option.key);
            let message = format!("mounts of type `{kind}` have no option `{name}`");
            self.say(Diagnostic::error(codes::MOUNT_OPTION_MISPLACED, option.key_span, message));
        }
        let given = |key| mount.options.iter().find(|option| option.key == key);
        let missing = match kind.as_str() {
            "bind" | "cache" | "tmpfs" if given(MountKey::Target).is_none() => "`target`",
            "secret"
                if [MountKey::Source, MountKey::Target, MountKey::Id].into_iter().all(|key| given(key).is_none()) =>
            {
                "`id` or `target`"
            }
            _ => "",
        };
        if !missing.is_empty() {
            let message = format!("a mount of type `{kind}` needs {missing}");
            self.say(Diagnostic::error(codes::MOUNT_OPTION_MISPLACED, flag.span, message));
        }
        if let ("secret", Some(source), Some(id)) = (kind.as_str(), given(MountKey::Source), given(MountKey::Id)) {
            let message = "a secret has either `id` or `source`";
            let diagnostic = Diagnostic::error(codes::MOUNT_OPTION_MISPLACED, source.key_span, message)
                .also(id.key_span, "already named here");
            self.say(diagnostic);
        }
    }
}

/// Tells whether mounts of this type have this option.
pub(crate) fn has(kind: &str, key: MountKey) -> bool {
    match key {
        MountKey::Type | MountKey::Target => true,
        MountKey::ReadOnly | MountKey::ReadWrite => matches!(kind, "bind" | "cache" | "tmpfs"),
        MountKey::From => matches!(kind, "bind" | "cache"),
        MountKey::Source => matches!(kind, "bind" | "cache" | "secret"),
        MountKey::Id => matches!(kind, "cache" | "secret" | "ssh"),
        MountKey::Sharing => kind == "cache",
        MountKey::Required => matches!(kind, "secret" | "ssh"),
        MountKey::Size => kind == "tmpfs",
        MountKey::Mode | MountKey::Uid | MountKey::Gid => matches!(kind, "cache" | "secret" | "ssh"),
        MountKey::Env => kind == "secret",
        MountKey::NoSuid | MountKey::NoDev | MountKey::NoExec => matches!(kind, "bind" | "cache" | "tmpfs"),
        MountKey::ForUser
        | MountKey::Propagation
        | MountKey::NonRecursive
        | MountKey::Relabel
        | MountKey::Consistency
        | MountKey::NoDereference => kind == "bind",
    }
}

/// Tells whether the option, written with this name, is its own value: a switch that is on where it is written.
///
/// Reference: buildah-run(1), `--mount`.
fn is_bare(key: MountKey, written: &str) -> bool {
    match key {
        MountKey::NoSuid
        | MountKey::NoDev
        | MountKey::NoExec
        | MountKey::ForUser
        | MountKey::NonRecursive
        | MountKey::NoDereference => true,
        MountKey::Propagation => written != "bind-propagation",
        MountKey::Relabel => written != "relabel",
        _ => false,
    }
}

/// Returns why an option of Buildah's changes nothing, if that is so and was not meant.
fn without_effect(option: &MountOption, written: &str) -> Option<Diagnostic> {
    let asked = option.value.as_ref().map_or(written, Text::as_str).to_ascii_lowercase();
    let nothing = |why: &str| {
        let message = format!("mount option `{written}` changes nothing: {why}");
        Some(Diagnostic::warning(codes::MOUNT_OPTION_WITHOUT_EFFECT, option.key_span, message))
    };
    match option.key {
        MountKey::Relabel => nothing("steps have no SELinux label"),
        // Mounts of a step are private, which is all that the other two ask for.
        MountKey::Propagation if !matches!(asked.as_str(), "private" | "rprivate") => {
            nothing("what a step mounts is seen by nobody else, and it sees no mount of others")
        }
        _ => None,
    }
}

/// Returns every option: the name that says it best, its other names, and the types of mounts that have it.
pub(super) fn options() -> Vec<(&'static str, Vec<&'static str>, Vec<&'static str>)> {
    let mut options: Vec<(&'static str, Vec<&'static str>, Vec<&'static str>)> = Vec::new();
    for (text, key) in KEYS {
        let best = name(key);
        match options.iter_mut().find(|(known, ..)| *known == best) {
            Some((_, others, _)) => others.push(text),
            None => options.push((text, Vec::new(), TYPES.into_iter().filter(|kind| has(kind, key)).collect())),
        }
    }
    options
}

/// Returns the name of an option that says it best.
pub(crate) fn name(key: MountKey) -> &'static str {
    KEYS.into_iter().find(|(_, known)| *known == key).map_or("", |(name, _)| name)
}

fn value_problem(option: &MountOption, written: &str) -> Option<Diagnostic> {
    if is_bare(option.key, written) {
        let message = format!("mount option `{written}` takes no value");
        return option.value.as_ref().map(|value| Diagnostic::error(codes::BAD_MOUNT_VALUE, value.span(), message));
    }
    let Some(value) = &option.value else {
        let may_be_bare = matches!(option.key, MountKey::ReadOnly | MountKey::ReadWrite | MountKey::Required);
        let message = format!("mount option `{written}` has no value");
        return (!may_be_bare).then(|| Diagnostic::error(codes::BAD_MOUNT_VALUE, option.key_span, message));
    };
    let text = value.as_str();
    if option.key == MountKey::From && has_variable(text) {
        return Some(variable_in_from(value));
    }
    if has_variable(text) {
        return None;
    }
    bad_value(option.key, text).map(|(expected, near)| {
        let message = format!("expected {expected} for mount option `{written}`, got `{text}`");
        let hint = near.map(|near| format!("A similar value is `{near}`."));
        Diagnostic::error(codes::BAD_MOUNT_VALUE, value.span(), message).maybe_hint(hint)
    })
}

/// Returns what is expected where `text` is no value of the option, and what of that is near to it.
pub(crate) fn bad_value(key: MountKey, text: &str) -> Option<(String, Option<&'static str>)> {
    let lower = text.to_ascii_lowercase();
    let (known, expected, near) = match key {
        MountKey::Type => (TYPES.contains(&lower.as_str()), list_or(&TYPES), nearest(text, TYPES)),
        MountKey::Sharing => (SHARING.contains(&lower.as_str()), list_or(&SHARING), nearest(text, SHARING)),
        MountKey::ReadOnly | MountKey::ReadWrite | MountKey::Required => {
            (go_bool(text).is_some(), list_or(&["true", "false"]), None)
        }
        MountKey::Size => (size(text).is_some(), "a size such as `64m`".to_owned(), None),
        MountKey::Mode => (octal(text).is_some(), "an octal number".to_owned(), None),
        MountKey::Uid | MountKey::Gid => (number(text).is_some(), "a number".to_owned(), None),
        MountKey::Propagation => {
            (PROPAGATION.contains(&lower.as_str()), list_or(&PROPAGATION), nearest(text, PROPAGATION))
        }
        MountKey::Relabel => (RELABEL.contains(&lower.as_str()), list_or(&RELABEL), nearest(text, RELABEL)),
        _ => return None,
    };
    (!known).then_some((expected, near))
}

/// Reads permissions.
pub(crate) fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|_| !text.starts_with('+'))
}

/// Reads a user's or a group's id.
pub(crate) fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

/// Tells whether something would be expanded here if variables were.
pub(crate) fn has_variable(value: &str) -> bool {
    value.char_indices().any(|(at, char)| char == '$' && at + 1 < value.len())
}

/// Says that a stage cannot be named by a variable, and how to do without.
pub(crate) fn variable_in_from(value: &Text) -> Diagnostic {
    let hint = format!("Give it a name with `FROM {} AS name`, and write that name here.", value.as_str());
    Diagnostic::error(codes::VARIABLE_IN_FROM, value.span(), "variables are not expanded in `from`").hint(hint)
}

/// Reads a size in bytes as Docker writes them: `100`, `64m`, `1.5 GiB`. A unit is 1024 times the one below.
pub(crate) fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let number = digits.strip_suffix(' ').unwrap_or(digits);
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit)?;
    let bytes = number.parse::<f64>().ok().filter(|_| plain)? * 1024_f64.powi(i32::try_from(power).ok()?);
    // Nothing but whole bytes is meant, and what is larger than any memory is no limit.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and it is positive"
    )]
    Some(bytes as u64)
}

/// Splits at commas; a field in double quotes may have commas in it, and two quotes for one.
fn fields(value: &Text) -> Result<Vec<Text>, Diagnostic> {
    let text = value.as_str();
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let end = if text[at..].starts_with('"') {
            let (field, end) = quoted_field(value, at)?;
            fields.push(field);
            end
        } else {
            let end = text[at..].find(',').map_or(text.len(), |len| at + len);
            if let Some(quote) = text[at..end].find('"') {
                let span = value.span_of(at + quote..at + quote + 1);
                let message = "a quote inside an option that does not start with one";
                return Err(Diagnostic::error(codes::BAD_MOUNT_SYNTAX, span, message));
            }
            fields.push(value.slice(at..end));
            end
        };
        match text[end..].chars().next() {
            None => return Ok(fields),
            Some(',') => at = end + 1,
            Some(_) => {
                let span = value.span_of(end..text.len());
                return Err(Diagnostic::error(
                    codes::BAD_MOUNT_SYNTAX,
                    span,
                    "a comma is expected after a quoted option",
                ));
            }
        }
    }
}

/// Reads the quoted field at `start`; returns where it ends.
fn quoted_field(value: &Text, start: usize) -> Result<(Text, usize), Diagnostic> {
    let text = value.as_str();
    let mut at = start + 1;
    let mut field = Text::empty_at(value.span_of(at..at).start);
    while let Some(len) = text[at..].find('"') {
        field.push(&value.slice(at..at + len));
        at += len + 1;
        if !text[at..].starts_with('"') {
            return Ok((field, at));
        }
        field.push(&value.slice(at..at + 1));
        at += 1;
    }
    let message = "no closing `\"`";
    Err(Diagnostic::error(codes::BAD_MOUNT_SYNTAX, value.span_of(start..text.len()), message).label("opened here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Option<Vec<String>> {
        fields(&Text::verbatim(text, 0))
            .ok()
            .map(|fields| fields.iter().map(|field| field.as_str().to_owned()).collect())
    }

    #[test]
    fn options_are_a_csv_record() {
        assert_eq!(split("a=b,c"), Some(vec!["a=b".to_owned(), "c".to_owned()]));
        assert_eq!(split("\"a=b,c\",\"d\"\"e\""), Some(vec!["a=b,c".to_owned(), "d\"e".to_owned()]));
        assert_eq!(split("a,"), Some(vec!["a".to_owned(), String::new()]));
        assert_eq!(split("a\"b"), None);
        assert_eq!(split("\"a"), None);
        assert_eq!(split("\"a\"b"), None);
    }

    #[test]
    fn sizes_have_units() {
        assert!(["0", "100", "64m", "1.5g", "2GiB", "3 kb", "1b"].into_iter().all(|text| size(text).is_some()));
        assert!(!["", "m", "64x", "-1", "1e5", "1..2", "6 4m"].into_iter().any(|text| size(text).is_some()));
    }
}
