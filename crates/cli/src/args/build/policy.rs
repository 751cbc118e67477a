//! `--policy`: which policies in Rego are asked.
//!
//! Reference: buildx, `util/buildflags`, the fields of `--policy`.

use std::path::PathBuf;
use std::str::FromStr;

use stave_engine::PolicyLogLevel;

use super::csv;
use super::value::truth;

/// One `--policy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PolicyArg {
    /// Files with policies.
    pub(crate) files: Vec<PathBuf>,
    /// Whether a build without any policy is an error.
    pub(crate) strict: bool,
    /// Whether no policy is asked at all.
    pub(crate) disabled: bool,
    /// Whether the policy beside the Dockerfile, and those of options before, are left out.
    pub(crate) reset: bool,
    /// Who may say who signed an image: Sigstore's `trusted_root.json`.
    pub(crate) trusted_root: Option<PathBuf>,
    /// How much of what policies say is shown.
    pub(crate) log_level: Option<PolicyLogLevel>,
}

impl FromStr for PolicyArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut arg = Self::default();
        for field in csv::fields(text)? {
            let (key, value) = csv::pair(&field)?;
            let switch = || truth(value).ok_or_else(|| format!("`{field}`: expected `true` or `false`"));
            match key.as_str() {
                "filename" if value.is_empty() => return Err("`filename` is empty".to_owned()),
                "filename" => arg.files.push(value.into()),
                "trusted-root" if value.is_empty() => return Err("`trusted-root` is empty".to_owned()),
                "trusted-root" => arg.trusted_root = Some(value.into()),
                "strict" => arg.strict = switch()?,
                "disabled" => arg.disabled = switch()?,
                "reset" => arg.reset = switch()?,
                "log-level" => {
                    let known = "expected panic, fatal, error, warn, info, debug or trace";
                    arg.log_level = Some(log_level(value).ok_or_else(|| format!("`{field}`: {known}"))?);
                }
                other => {
                    let known = "expected filename, strict, disabled, reset, trusted-root or log-level";
                    return Err(format!("unknown field `{other}`: {known}"));
                }
            }
        }
        if arg.disabled && (arg.strict || arg.reset || !arg.files.is_empty() || arg.trusted_root.is_some()) {
            return Err("`disabled=true` goes with no other field".to_owned());
        }
        Ok(arg)
    }
}

/// Returns what a level of buildx's logs shows of policies: what they print is of `info`.
fn log_level(text: &str) -> Option<PolicyLogLevel> {
    match text {
        "panic" | "fatal" | "error" | "warn" | "warning" => Some(PolicyLogLevel::Nothing),
        "info" => Some(PolicyLogLevel::Printed),
        "debug" | "trace" => Some(PolicyLogLevel::All),
        _ => None,
    }
}
