//! Lowers `COPY` and `ADD`.

use stave_graph::remote::{AddressPlace, file_name, is_http, parse_git, redacted};
use stave_graph::{self as graph, ContextId, CopySource, Http, Merge, MountSource, Op, Unpack};
use stave_oci::user::UserText;
use stave_oci::{BlobDigest, ModeChange};
use stave_pattern::{Wildcard, clean, literal};

use super::codes;
use super::lower::Lowering;
use super::stage::Stage;
use crate::ast::{Copy, FlagName, Head, Heredoc, Source};
use crate::diagnostic::Diagnostic;
use crate::parse::has_flag;
use crate::span::Span;
use crate::text::Text;

/// What `COPY` and `ADD` have in common, expanded.
struct Common {
    keyword: &'static str,
    paths: Vec<(String, Span)>,
    /// Files written in the Dockerfile: names and contents.
    inline: Vec<(String, String)>,
    dest: String,
    chown: Option<String>,
    chmod: Option<String>,
    link: bool,
    parents: bool,
    excludes: Vec<String>,
    unpack: Unpack,
}

impl Lowering<'_> {
    pub(super) fn add_files(&mut self, stage: &mut Stage, head: &Head, copy: &Copy) -> Option<()> {
        let common = self.common(stage, "ADD", head, copy);
        let checksum = self.checksum(stage, head);
        let (common, checksum) = (common?, checksum?);
        let checksum = checksum.as_ref().map(|(text, span)| (text.as_str(), *span));
        if let Some((_, span)) = checksum
            && let Some(problem) = checksum_problem(&common)
        {
            return self.fail(Diagnostic::error(codes::CHECKSUM, span, problem));
        }
        let keep_git_dir = head.flag(FlagName::KeepGitDir).map(crate::ast::Flag::is_on);
        let mut sources = Some(Vec::new());
        for (path, span) in &common.paths {
            let source = self.added(&common, (path, *span), keep_git_dir, checksum);
            sources = sources.zip(source).map(|(mut sources, source)| {
                sources.push(source);
                sources
            });
        }
        self.finish_copy(stage, head, common, sources?);
        Some(())
    }

    /// One source of `ADD`: a repository, a file on the network, or a path in the context.
    fn added(
        &mut self,
        common: &Common,
        (path, span): (&str, Span),
        keep_git_dir: Option<bool>,
        checksum: Option<(&str, Span)>,
    ) -> Option<CopySource> {
        if let Some(address) = parse_git(path, AddressPlace::Instruction) {
            let source = address.and_then(|address| address.with_flags(keep_git_dir, checksum.map(|(text, _)| text)));
            return match source {
                Ok(source) => Some(CopySource::Tree { node: self.git(&source, span), pattern: ".".to_owned() }),
                Err(error) => self.fail(Diagnostic::error(codes::ADDRESS, span, error.to_string())),
            };
        }
        if !is_http(path) {
            return Some(CopySource::Context { context: ContextId::MAIN, pattern: pattern(common, path) });
        }
        let checksum = match checksum {
            None => None,
            Some((text, span)) => match text.parse::<BlobDigest>() {
                Ok(digest) => Some(digest),
                Err(error) => {
                    let message = format!("`{text}` is no checksum of a file: {error}");
                    return self.fail(
                        Diagnostic::error(codes::CHECKSUM, span, message)
                            .label("expected `sha256:` and 64 hexadecimal digits"),
                    );
                }
            },
        };
        let name = file_name(path);
        let node = self.add(Op::Http(Http { url: path.to_owned(), name: name.clone(), checksum }), span);
        Some(CopySource::Tree { node, pattern: literal(&name) })
    }

    #[expect(clippy::option_option, reason = "the two kinds of nothing are different here")]
    fn checksum(&mut self, stage: &Stage, head: &Head) -> Option<Option<(String, Span)>> {
        let Some(flag) = head.flag(FlagName::Checksum) else { return Some(None) };
        let text = self.word(stage, &flag.value)?;
        Some((!text.is_empty()).then(|| (text, flag.value.span())))
    }

    pub(super) fn copy_files(&mut self, stage: &mut Stage, at: (usize, usize), head: &Head, copy: &Copy) -> Option<()> {
        let common = self.common(stage, "COPY", head, copy);
        let files = match head.flag(FlagName::From) {
            Some(flag) => {
                let place = self.stages.froms.get(&(at.0, at.1, 0))?.clone();
                Some(self.files(&place, at.0, flag.value.span())?)
            }
            None => None,
        };
        let common = common?;
        let remote = |path: &str| is_http(path) || matches!(parse_git(path, AddressPlace::Instruction), Some(Ok(_)));
        if let Some((source, span)) = common.paths.iter().find(|(path, _)| remote(path)) {
            return self.fail(
                Diagnostic::error(codes::REMOTE_COPY, *span, format!("`COPY` cannot read `{}`", redacted(source)))
                    .label("not a path in the build context")
                    .hint("Use `ADD` for what is on the network."),
            );
        }
        let scratch = matches!(files, Some(MountSource::Empty)).then(|| self.add(Op::Scratch, head.span));
        let source = |(path, _): &(String, Span)| {
            let pattern = pattern(&common, path);
            match files {
                Some(MountSource::Tree(node)) => CopySource::Tree { node, pattern },
                Some(MountSource::Context(context)) => CopySource::Context { context, pattern },
                Some(MountSource::Empty) | None => match scratch {
                    Some(node) => CopySource::Tree { node, pattern },
                    None => CopySource::Context { context: ContextId::MAIN, pattern },
                },
            }
        };
        let sources = common.paths.iter().map(source).collect();
        self.finish_copy(stage, head, common, sources);
        Some(())
    }

    fn finish_copy(&mut self, stage: &mut Stage, head: &Head, common: Common, mut sources: Vec<CopySource>) {
        let created_by = created_by(&common);
        let Common { inline, dest, chown, chmod, link, parents, excludes, unpack, .. } = common;
        sources.extend(inline.into_iter().map(|(name, content)| CopySource::Inline { name, content }));
        // With permissions a link is a copy like any other (K015 of the feature list, as BuildKit does).
        let link = link && chmod.is_none();
        let parent = if link { self.add(Op::Scratch, head.span) } else { stage.node };
        let copy = graph::Copy {
            parent,
            sources,
            dest_is_dir: is_directory(&dest),
            dest: stage.absolute(&dest),
            chown,
            chmod,
            unpack,
            parents,
            excludes,
        };
        let node = self.add(Op::Copy(copy), head.span);
        let merged = if link {
            stage.linked = Some(node);
            self.add(Op::Merge(Merge { lower: stage.node, upper: node }), head.span)
        } else {
            node
        };
        stage.node = merged;
        stage.record(created_by, Some(stage.node));
    }

    /// Expands and checks all but where the sources are; mistakes in several places are all reported.
    fn common(&mut self, stage: &Stage, keyword: &'static str, head: &Head, copy: &Copy) -> Option<Common> {
        let before = self.diagnostics.len();
        let sources = self.sources(stage, copy);
        let chown = self.chown(stage, head);
        let chmod = self.chmod(stage, head);
        let dest = self.word(stage, &copy.dest);
        self.join_quotes(before, keyword);
        let dest = dest?;
        let ((paths, inline), chown, chmod) = (sources?, chown?, chmod?);
        let count = paths.len() + inline.len();
        if count > 1 && !is_directory(&dest) {
            let message = format!("{count} sources need a directory as destination");
            let diagnostic = Diagnostic::error(codes::DIRECTORY_NEEDED, copy.dest.span(), message);
            return self.fail(if is_late_flag(keyword, copy.dest.as_str()) {
                diagnostic
                    .label("the destination, because it is last")
                    .hint(format!("A flag stands before the sources: `{keyword} {dest} ...`."))
            } else {
                diagnostic.label("no directory, because it does not end in `/`").hint(format!("Write `{dest}/`."))
            });
        }
        let on = |name: FlagName| head.flag(name).map(crate::ast::Flag::is_on);
        let unpack = match on(FlagName::Unpack) {
            Some(true) => Unpack::All,
            None if keyword == "ADD" => Unpack::Local,
            Some(false) | None => Unpack::No,
        };
        Some(Common {
            keyword,
            paths,
            inline,
            dest,
            chown,
            chmod,
            link: on(FlagName::Link).unwrap_or(false),
            parents: on(FlagName::Parents).unwrap_or(false),
            excludes: head.flags_named(FlagName::Exclude).map(|flag| flag.value.as_str().to_owned()).collect(),
            unpack,
        })
    }

    /// The sources that are paths, and those that are written in the Dockerfile, which come last whatever their place.
    #[expect(clippy::type_complexity, reason = "two lists of pairs")]
    fn sources(&mut self, stage: &Stage, copy: &Copy) -> Option<(Vec<(String, Span)>, Vec<(String, String)>)> {
        let (mut paths, mut inline) = (Some(Vec::new()), Some(Vec::new()));
        for source in &copy.sources {
            match source {
                Source::Heredoc(heredoc) => {
                    let file = self.inline(stage, heredoc);
                    inline = inline.zip(file).map(|(mut inline, file)| {
                        inline.push(file);
                        inline
                    });
                }
                Source::Path(text) => {
                    let path = self.source(stage, text);
                    paths = paths.zip(path).map(|(mut paths, path)| {
                        paths.push(path);
                        paths
                    });
                }
            }
        }
        paths.zip(inline)
    }

    fn inline(&mut self, stage: &Stage, heredoc: &Heredoc) -> Option<(String, String)> {
        let content = heredoc.content();
        let content = if heredoc.expand { self.body(stage, &content)? } else { content.as_str().to_owned() };
        Some((heredoc.name.clone(), content))
    }

    fn source(&mut self, stage: &Stage, text: &Text) -> Option<(String, Span)> {
        let path = self.word(stage, text)?;
        let remote = is_http(&path) || parse_git(&path, AddressPlace::Instruction).is_some();
        if let (false, Err(problem)) = (remote, Wildcard::parse(&path)) {
            let message = format!("pattern `{path}` {problem}");
            return self.fail(Diagnostic::error(codes::PATTERN, text.span(), message));
        }
        Some((path, text.span()))
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
    fn chmod(&mut self, stage: &Stage, head: &Head) -> Option<Option<String>> {
        let Some(flag) = head.flag(FlagName::Chmod) else { return Some(None) };
        let text = self.word(stage, &flag.value)?;
        if text.is_empty() {
            return Some(None);
        }
        match ModeChange::parse(&text) {
            Ok(_) => Some(Some(text)),
            Err(_) => self.fail(
                Diagnostic::error(codes::MODE, flag.value.span(), format!("`{text}` is no file mode"))
                    .label("expected an octal number between 0 and 7777, or symbols like `u=rwX,go-w`"),
            ),
        }
    }
}

/// Whether the last word is a flag of the instruction.
fn is_late_flag(keyword: &str, word: &str) -> bool {
    let name = word.strip_prefix("--").map(|flag| flag.split_once('=').map_or(flag, |(name, _)| name));
    name.is_some_and(|name| has_flag(keyword, name))
}

/// What a checksum could not be of.
fn checksum_problem(common: &Common) -> Option<&'static str> {
    match (common.paths.as_slice(), common.inline.as_slice()) {
        ([(path, _)], []) if is_http(path) || parse_git(path, AddressPlace::Instruction).is_some() => None,
        ([_], []) => Some("a checksum can only be given for a file on the network or a git repository"),
        _ => Some("a checksum can only be given where there is one source"),
    }
}

/// Reference: BuildKit, `frontend/dockerfile/dockerfile2llb/convert_copy.go`, whose texts `docker history` shows.
fn created_by(common: &Common) -> String {
    let mut words = vec![common.keyword.to_owned()];
    words.extend(common.parents.then(|| "--parents".to_owned()));
    words.extend(common.chown.as_ref().map(|owner| format!("--chown={owner}")));
    words.extend(common.chmod.as_ref().map(|mode| format!("--chmod={mode}")));
    words.extend(common.paths.iter().map(|(path, _)| redacted(path)));
    words.extend(common.inline.iter().map(|(name, _)| format!("<<{name}")));
    words.extend([common.dest.clone(), "# buildkit".to_owned()]);
    words.join(" ")
}

/// A source as its root sees it. With `--parents` the part in front of `/./` is not kept, so it stays apart.
fn pattern(common: &Common, path: &str) -> String {
    match path.split_once("/./").filter(|_| common.parents) {
        Some((pivot, rest)) => format!("{}/./{}", relative(pivot), relative(rest)),
        None => relative(path),
    }
}

/// Whether a destination means a directory by the way it is written.
fn is_directory(dest: &str) -> bool {
    dest.is_empty() || matches!(dest, "." | "..") || ["/", "/.", "/.."].iter().any(|end| dest.ends_with(end))
}

/// A source relative to the root that it is taken from: nothing is above the root.
pub(super) fn relative(pattern: &str) -> String {
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
}
