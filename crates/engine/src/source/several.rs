//! Several Dockerfiles: which of them is meant, or what they are together.
//!
//! Docker takes the last of several `-f`, Buildah joins them. The last one is taken unless Docker's builder has no use for
//! it alone (`docs/decisions/0023-the-last-of-several-files.md`).

use stave_dockerfile::ast::{Dockerfile, FlagName, InstructionKind, MountKey};
use stave_dockerfile::{Parse, codes, parse};

use crate::error::EngineError;

/// Returns why the last file, `last`, says nothing without those before it, if that is so. `target` is the stage that is
/// wanted.
///
/// It begins with something else than `FROM`, or it, or who wants a stage, names one that only an earlier file has.
pub(super) fn why_joined(earlier: &[&str], last: &str, target: Option<&str>) -> Option<String> {
    let last = parse(last);
    if last.file.stages.is_empty() || last.diagnostics.iter().any(|diagnostic| diagnostic.code == codes::BEFORE_FROM) {
        return Some("it does not begin with `FROM`".to_owned());
    }
    let theirs: Vec<String> = earlier.iter().flat_map(|text| stages(&parse(text).file)).collect();
    let own = stages(&last.file);
    let wanted = target.map(str::to_lowercase).filter(|target| !own.contains(target));
    let named = unknown_names(&last.file);
    let stage = wanted.into_iter().chain(named).find(|name| theirs.contains(name))?;
    Some(format!("only an earlier one has the stage `{stage}`"))
}

/// Whether the last file, `last`, or who wants the stage `target`, names what another file could have as a stage.
pub(super) fn may_need_others(last: &str, target: Option<&str>) -> bool {
    let last = parse(last).file;
    let own = stages(&last);
    let wanted = target.map(str::to_lowercase).filter(|target| !own.contains(target));
    wanted.into_iter().chain(unknown_names(&last)).any(|name| may_be_stage(&name))
}

/// Whether a stage can have this name, which is in lower case: an image with a registry or a tag, a number or a variable is
/// none.
fn may_be_stage(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name != "scratch" && name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.bytes().all(is_part)
}

fn stages(file: &Dockerfile) -> Vec<String> {
    file.stages.iter().filter_map(|stage| stage.name.as_ref()).map(|name| name.name.clone()).collect()
}

/// Returns what a file starts from and copies from, in lower case, where it is no earlier stage of its own.
fn unknown_names(file: &Dockerfile) -> Vec<String> {
    let mut known: Vec<&str> = Vec::new();
    let mut unknown = Vec::new();
    for stage in &file.stages {
        let mut names = vec![stage.base.as_str()];
        names.extend(stage.head.flags_named(FlagName::After).map(|flag| flag.value.as_str()));
        for instruction in &stage.instructions {
            names.extend(instruction.head.flag(FlagName::From).map(|flag| flag.value.as_str()));
            let InstructionKind::Run(run) = &instruction.kind else { continue };
            let options = run.mounts.iter().flat_map(|mount| &mount.options);
            let from = options.filter(|option| option.key == MountKey::From);
            names.extend(from.filter_map(|option| option.value.as_ref()).map(stave_dockerfile::Text::as_str));
        }
        let names = names.into_iter().map(str::to_lowercase);
        unknown.extend(names.filter(|name| !known.contains(&name.as_str())));
        known.extend(stage.name.as_ref().map(|name| name.name.as_str()));
    }
    unknown
}

/// Makes one text of several, each with its name, in which the instructions of each follow those of the one before. There
/// is at least one.
///
/// Reference: buildah-build(1), `--file`.
pub(super) fn joined(
    first: (String, String),
    others: impl IntoIterator<Item = (String, String)>,
) -> Result<(String, String), EngineError> {
    let (mut name, mut whole) = first;
    let first = parse(&whole);
    let mut is_open = has_open_heredoc(&first);
    for (next_name, next) in others {
        if is_open {
            let message = format!("a heredoc of `{name}` does not end, so `{next_name}` cannot follow it");
            return Err(EngineError::request(message, None));
        }
        let next = next.strip_prefix('\u{feff}').unwrap_or(&next);
        let parsed = parse(next);
        if parsed.file.escape != first.file.escape {
            let message = format!("`{name}` and `{next_name}` have different escape characters");
            return Err(EngineError::request(message, Some("Give both the same directive `# escape=`.")));
        }
        is_open = has_open_heredoc(&parsed);
        end_continuation(&mut whole, first.file.escape);
        whole.push('\n');
        whole.push_str(next);
        name = format!("{name} + {next_name}");
    }
    Ok((name, whole))
}

fn has_open_heredoc(parsed: &Parse) -> bool {
    parsed.diagnostics.iter().any(|diagnostic| diagnostic.code == codes::UNTERMINATED_HEREDOC)
}

/// Takes away an escape character at the end of a file, where there is no next line that it could join.
fn end_continuation(text: &mut String, escape: char) {
    text.truncate(text.trim_end().len());
    let escapes = text.len() - text.trim_end_matches(escape).len();
    if escapes == escape.len_utf8() {
        text.truncate(text.len() - escapes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(texts: &[&str]) -> Result<String, String> {
        let mut texts = texts.iter().zip('a'..).map(|(text, name)| (name.to_string(), (*text).to_owned()));
        let first = texts.next().expect("each test has a file");
        joined(first, texts).map(|(_, text)| text).map_err(|error| error.to_string())
    }

    /// A201
    #[test]
    fn the_instructions_of_several_files_follow_each_other() {
        assert_eq!(join(&["FROM a\n"]), Ok("FROM a\n".to_owned()));
        assert_eq!(
            join(&["FROM a", "\u{feff}COPY a b", "COPY c d\n\n"]),
            Ok("FROM a\nCOPY a b\nCOPY c d\n\n".to_owned())
        );
        // Nothing continues over the end of a file.
        assert_eq!(join(&["FROM a\nRUN a \\\n", "RUN b"]), Ok("FROM a\nRUN a \nRUN b".to_owned()));
        assert_eq!(join(&["FROM a\nRUN a \\\\\n", "RUN b"]), Ok("FROM a\nRUN a \\\\\nRUN b".to_owned()));
        let backtick = "# escape=`\nFROM a\n";
        assert_eq!(join(&[backtick, "# escape=`\nRUN b"]), Ok("# escape=`\nFROM a\n# escape=`\nRUN b".to_owned()));
    }

    /// A201
    #[test]
    fn what_cannot_be_one_file_is_refused() {
        let error = join(&["# escape=`\nFROM a\n", "RUN b"]).expect_err("one text has one escape character");
        assert_eq!(error, "`a` and `b` have different escape characters");
        let error = join(&["FROM a\nRUN <<EOF\ntext\n", "RUN b"]).expect_err("the heredoc is open");
        assert_eq!(error, "a heredoc of `a` does not end, so `b` cannot follow it");
    }

    /// A201
    #[test]
    fn the_last_file_is_taken_alone_if_it_can_be() {
        let first = "FROM busybox AS Base\nFROM base AS tools\n";
        let why = |last, target| why_joined(&[first], last, target);
        for alone in [
            "FROM scratch\n",
            "# syntax=x\nARG V=1\nFROM alpine:$V\n",
            "FROM a AS base\nFROM base\nCOPY --from=base a b\nRUN --mount=from=base,target=/b true\n",
            "FROM a\nCOPY --from=0 a b\nONBUILD COPY --from=base a b\n",
            "FROM $base\nLABEL a=base\n",
        ] {
            assert_eq!(why(alone, None), None, "{alone}");
        }
        for part in ["", "# only a comment\n", "RUN b\n", "ARG a\nRUN b\nFROM scratch\n"] {
            assert_eq!(why(part, None).as_deref(), Some("it does not begin with `FROM`"), "{part}");
        }
        for user in [
            "FROM base\n",
            "FROM BASE AS base\n",
            "FROM a\nCOPY --from=Base a b\n",
            "FROM a\nRUN --mount=target=/x,from=base true\nFROM b AS base\n",
            "FROM --after=base a\n",
        ] {
            assert_eq!(why(user, None).as_deref(), Some("only an earlier one has the stage `base`"), "{user}");
        }
        assert_eq!(why("FROM a AS x\n", Some("X")), None);
        assert_eq!(why("FROM a AS x\n", Some("none")), None);
        let target = why("FROM a AS x\n", Some("Tools"));
        assert_eq!(target.as_deref(), Some("only an earlier one has the stage `tools`"));
    }

    /// A201
    #[test]
    fn the_last_file_may_need_what_cannot_be_read_if_it_names_what_could_be_a_stage() {
        for alone in [
            "FROM scratch\n",
            "FROM alpine:3\n",
            "FROM h.example/a\nCOPY --from=h.example/b@sha256:0 a b\n",
            "FROM scratch AS a\nFROM a\nCOPY --from=0 a b\nCOPY --from=A a b\n",
            "FROM $base\n",
        ] {
            assert!(!may_need_others(alone, None), "{alone}");
            assert!(!may_need_others(alone, Some("0")), "{alone}");
        }
        for user in ["FROM base\n", "FROM scratch\nCOPY --from=Base a b\n", "FROM --after=base scratch\n"] {
            assert!(may_need_others(user, None), "{user}");
        }
        assert!(may_need_others("FROM scratch AS a\n", Some("b")));
        assert!(!may_need_others("FROM scratch AS a\n", Some("A")));
    }
}
