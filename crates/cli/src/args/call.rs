//! What `build --call` asks for instead of a build.

use std::str::FromStr;

/// A question about a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// An ordinary build.
    Build,
    Check,
    Outline,
    Targets,
    /// Which questions there are.
    Describe,
}

impl Method {
    /// All that can be asked for, with the names that are shown.
    const NAMES: [(&str, Self); 6] = [
        ("build", Self::Build),
        ("check", Self::Check),
        ("outline", Self::Outline),
        ("targets", Self::Targets),
        ("subrequests.describe", Self::Describe),
        ("lint", Self::Check),
    ];
}

/// `METHOD[,format=json][,ignorestatus]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallArg {
    pub(crate) method: Method,
    /// Whether the answer is for a program.
    pub(crate) json: bool,
    /// Whether findings leave the exit code 0.
    pub(crate) ignore_status: bool,
}

impl CallArg {
    /// What `--check` means.
    pub(crate) const CHECK: Self = Self { method: Method::Check, json: false, ignore_status: false };
}

impl FromStr for CallArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut call = Self { method: Method::Build, json: false, ignore_status: false };
        let mut named = false;
        for field in text.split(',') {
            match field.split_once('=') {
                None if field == "ignorestatus" => call.ignore_status = true,
                None if named => return Err(format!("`{field}` is a second method")),
                None => {
                    let found = Method::NAMES.iter().find(|(name, _)| *name == field);
                    let expected = || {
                        let all: Vec<_> = Method::NAMES[..5].iter().map(|(name, _)| format!("`{name}`")).collect();
                        format!("no method is named `{field}`: expected one of {}", all.join(", "))
                    };
                    (call.method, named) = (found.ok_or_else(expected)?.1, true);
                }
                Some(("format", "json")) => call.json = true,
                Some(("format", "text")) => call.json = false,
                Some(("format", other)) => return Err(format!("expected `text` or `json` as format, got `{other}`")),
                Some(("ignorestatus", "true" | "1")) => call.ignore_status = true,
                Some(("ignorestatus", "false" | "0")) => call.ignore_status = false,
                Some(_) => return Err(format!("`{field}` is no option: expected `format=` or `ignorestatus=`")),
            }
        }
        if named { Ok(call) } else { Err("the method is missing: `check`, `outline` or `targets`".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B029.
    #[test]
    fn methods_and_options_are_read_as_buildx_reads_them() {
        let call = |text: &str| text.parse::<CallArg>();
        assert_eq!(call("check"), Ok(CallArg::CHECK));
        assert_eq!(call("lint"), Ok(CallArg::CHECK));
        assert_eq!(
            call("outline,format=json,ignorestatus=true"),
            Ok(CallArg { method: Method::Outline, json: true, ignore_status: true })
        );
        assert_eq!(call("format=json,targets").map(|call| call.method), Ok(Method::Targets));
        for text in
            ["", "chek", "check,targets", "check,format=xml", "check,x=y", "format=json", "check,ignorestatus=2"]
        {
            assert!(call(text).is_err(), "{text}");
        }
    }
}
