//! Lowers `COPY` and `ADD`.

use stave_graph::{self as graph, ContextId, CopySource, Op, Unpack};
use stave_oci::user::UserText;
use stave_pattern::{Wildcard, clean};

use super::codes;
use super::lower::Lowering;
use super::stage::Stage;
use crate::ast::{Copy, FlagName, Head, Source};
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::text::Text;

/// Largest permissions: setuid, setgid, sticky, and all of the nine others.
const MODE_MAX: u32 = 0o7777;

/// What `COPY` and `ADD` have in common.
struct Common {
    sources: Vec<(String, Span)>,
    dest: String,
    chown: Option<String>,
    chmod: Option<(u32, String)>,
}

impl Lowering<'_> {
    pub(super) fn add_files(&mut self, stage: &mut Stage, head: &Head, copy: &Copy) -> Option<()> {
        let common = self.common(stage, "ADD", head, copy)?;
        let remote = common.sources.iter().find(|(source, _)| is_remote(source));
        if let Some(&(_, span)) = remote {
            return self.not_supported(span, "`ADD` of what is on the network");
        }
        let sources = common
            .sources
            .iter()
            .map(|(pattern, _)| CopySource::Context { context: ContextId::MAIN, pattern: relative(pattern) });
        let sources = sources.collect();
        self.finish_copy(stage, head, ("ADD", true), common, sources);
        Some(())
    }

    pub(super) fn copy_files(&mut self, stage: &mut Stage, at: (usize, usize), head: &Head, copy: &Copy) -> Option<()> {
        let common = self.common(stage, "COPY", head, copy);
        let from = head.flag(FlagName::From);
        let tree = match from {
            Some(flag) => {
                let place = self.stages.froms.get(&at)?.clone();
                Some(self.tree(&place, at.0, flag.value.span())?)
            }
            None => None,
        };
        let common = common?;
        if let Some((source, span)) = common.sources.iter().find(|(source, _)| is_remote(source)) {
            return self.fail(
                Diagnostic::error(codes::REMOTE_COPY, *span, format!("`COPY` cannot read `{source}`"))
                    .label("not a path in the build context")
                    .hint("Use `ADD` for what is on the network."),
            );
        }
        let source = |(pattern, _): &(String, Span)| match tree {
            Some(node) => CopySource::Tree { node, pattern: relative(pattern) },
            None => CopySource::Context { context: ContextId::MAIN, pattern: relative(pattern) },
        };
        let sources = common.sources.iter().map(source).collect();
        self.finish_copy(stage, head, ("COPY", false), common, sources);
        Some(())
    }

    fn finish_copy(
        &mut self,
        stage: &mut Stage,
        head: &Head,
        (keyword, unpack): (&str, bool),
        common: Common,
        sources: Vec<CopySource>,
    ) {
        let created_by = created_by(keyword, &common);
        let Common { dest, chown, chmod, .. } = common;
        let copy = graph::Copy {
            parent: stage.node,
            sources,
            dest_is_dir: is_directory(&dest),
            dest: stage.absolute(&dest),
            chown,
            chmod: chmod.map(|(mode, _)| format!("{mode:o}")),
            unpack: if unpack { Unpack::Local } else { Unpack::No },
            parents: false,
            excludes: Vec::new(),
        };
        stage.node = self.add(Op::Copy(copy), head.span);
        stage.record(created_by, Some(stage.node));
    }

    /// Expands and checks all but where the sources are; mistakes in several places are all reported.
    fn common(&mut self, stage: &Stage, keyword: &str, head: &Head, copy: &Copy) -> Option<Common> {
        let flags = self.copy_flags(keyword, head);
        let sources = self.sources(stage, copy);
        let chown = self.chown(stage, head);
        let chmod = self.chmod(stage, head);
        let dest = self.word(stage, &copy.dest)?;
        let (sources, chown, chmod, ()) = (sources?, chown?, chmod?, flags?);
        if sources.len() > 1 && !is_directory(&dest) {
            return self.fail(
                Diagnostic::error(
                    codes::DIRECTORY_NEEDED,
                    copy.dest.span(),
                    format!("{} sources need a directory as destination", sources.len()),
                )
                .label("no directory, because it does not end in `/`")
                .hint(format!("Write `{dest}/`.")),
            );
        }
        Some(Common { sources, dest, chown, chmod })
    }

    /// Refuses flags that mean something which cannot be done yet. A switch that is off means nothing.
    fn copy_flags(&mut self, keyword: &str, head: &Head) -> Option<()> {
        let mut accepted = Some(());
        for flag in &head.flags {
            let supported = match flag.name {
                FlagName::From | FlagName::Chown | FlagName::Chmod => true,
                FlagName::Link | FlagName::Parents | FlagName::KeepGitDir => !flag.is_on(),
                _ => false,
            };
            if !supported {
                accepted = self.not_supported(flag.span, &format!("`{keyword} --{}`", flag.name.as_str()));
            }
        }
        accepted
    }

    fn sources(&mut self, stage: &Stage, copy: &Copy) -> Option<Vec<(String, Span)>> {
        let mut sources = Some(Vec::new());
        for source in &copy.sources {
            let checked = match source {
                Source::Heredoc(heredoc) => self.not_supported(heredoc.marker.span(), "a heredoc"),
                Source::Path(text) => self.source(stage, text),
            };
            sources = sources.zip(checked).map(|(mut sources, checked)| {
                sources.push(checked);
                sources
            });
        }
        sources
    }

    fn source(&mut self, stage: &Stage, text: &Text) -> Option<(String, Span)> {
        let pattern = self.word(stage, text)?;
        if let (false, Err(problem)) = (is_remote(&pattern), Wildcard::parse(&pattern)) {
            let message = format!("pattern `{pattern}` {problem}");
            return self.fail(Diagnostic::error(codes::PATTERN, text.span(), message));
        }
        Some((pattern, text.span()))
    }

    /// `None` is a mistake, `Some(None)` no flag.
    #[expect(clippy::option_option, reason = "the two kinds of nothing are different here")]
    fn chown(&mut self, stage: &Stage, head: &Head) -> Option<Option<String>> {
        let Some(flag) = head.flag(FlagName::Chown) else { return Some(None) };
        let owner = self.word(stage, &flag.value)?;
        if owner.is_empty() {
            return Some(None); // As BuildKit: `--chown=$OWNER` without an owner chooses none.
        }
        match UserText::parse(&owner) {
            Ok(_) => Some(Some(owner)),
            Err(error) => self.fail(Diagnostic::error(codes::USER, flag.value.span(), error.to_string())),
        }
    }

    #[expect(clippy::option_option, reason = "the two kinds of nothing are different here")]
    fn chmod(&mut self, stage: &Stage, head: &Head) -> Option<Option<(u32, String)>> {
        let Some(flag) = head.flag(FlagName::Chmod) else { return Some(None) };
        let text = self.word(stage, &flag.value)?;
        if text.is_empty() {
            return Some(None);
        }
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= MODE_MAX && !text.starts_with('+') => Some(Some((mode, text))),
            _ if is_symbolic_mode(&text) => self.not_supported(flag.value.span(), "a symbolic mode"),
            _ => self.fail(
                Diagnostic::error(codes::MODE, flag.value.span(), format!("`{text}` is no file mode"))
                    .label("expected an octal number between 0 and 7777"),
            ),
        }
    }
}

/// Whether `text` is written as chmod(1) wants it, such as `u=rwX,go-w`.
fn is_symbolic_mode(text: &str) -> bool {
    let clause = |clause: &str| {
        let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
        rest.starts_with(['+', '-', '=']) && rest.chars().all(|letter| "+-=rwxXstugo".contains(letter))
    };
    text.split(',').all(clause)
}

fn created_by(keyword: &str, common: &Common) -> String {
    let mut words = vec![keyword.to_owned()];
    words.extend(common.chown.as_ref().map(|owner| format!("--chown={owner}")));
    words.extend(common.chmod.as_ref().map(|(_, mode)| format!("--chmod={mode}")));
    words.extend(common.sources.iter().map(|(source, _)| source.clone()));
    words.extend([common.dest.clone(), "# buildkit".to_owned()]);
    words.join(" ")
}

/// Whether a destination means a directory by the way it is written.
fn is_directory(dest: &str) -> bool {
    dest.is_empty() || matches!(dest, "." | "..") || ["/", "/.", "/.."].iter().any(|end| dest.ends_with(end))
}

/// Whether a source is an address of HTTP or git.
fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"].iter().any(|start| source.starts_with(start))
}

/// A source relative to the root that it is taken from: nothing is above the root.
fn relative(pattern: &str) -> String {
    let rooted = clean(format!("/{pattern}").as_bytes());
    let rooted = String::from_utf8(rooted).expect("cleaning only drops whole components");
    match rooted.trim_start_matches('/') {
        "" => ".".to_owned(),
        relative => relative.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T92, T93, A125.
    #[test]
    fn sources_stay_in_their_root() {
        for (pattern, expected) in
            [("../../f", "f"), ("/f", "f"), (".", "."), ("", "."), ("./a//b/", "a/b"), ("a/../..", "."), ("/", ".")]
        {
            assert_eq!(relative(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn directories_are_seen_by_how_they_are_written() {
        for dest in ["", ".", "./", "a/", "/", "a/.", "..", "../.."] {
            assert!(is_directory(dest), "{dest}");
        }
        for dest in ["a", "/a", "a.", "a..", "/a/b"] {
            assert!(!is_directory(dest), "{dest}");
        }
    }

    #[test]
    fn symbolic_modes_are_told_from_nonsense() {
        assert!(["u=rwX,go=rX", "a+X", "go-w", "+x", "u+rw-x"].into_iter().all(is_symbolic_mode));
        assert!(["", "64a", "10000", "rwx", "u", "u=z"].into_iter().all(|text| !is_symbolic_mode(text)));
    }
}
