//! Checks of one instruction with what the plan knows when it comes to it: variables, the shell, the base, what the
//! context leaves out.

use std::collections::BTreeMap;

use stave_graph::remote::{AddressPlace, is_http, parse_git};
use stave_oci::Platform;
use stave_pattern::clean;

use super::words::{Missing, expanded_bodies, expanded_words, split, text, undefined, undefined_in_body};
use super::{push, rules};
use crate::ast::{ArgDeclaration, Command, Copy, FlagName, Instruction, InstructionKind, Pairs, Source, Stage};
use crate::diagnostic::Diagnostic;
use crate::expand::Undefined;
use crate::parse::FILE_BYTES_MAX;
use crate::plan::{Ignored, Variables, is_hidden};
use crate::span::Span;
use crate::suggest::nearest;
use crate::text::Text;

/// What is known just before an instruction.
pub(crate) struct View<'a> {
    pub(crate) escape: char,
    pub(crate) variables: &'a Variables,
    /// The variables of `FROM` lines, which a stage sees only if it declares them.
    pub(crate) globals: &'a Variables,
    /// The arguments declared so far, with a value or without.
    pub(crate) args: &'a [(String, Option<String>)],
    pub(crate) build_args: &'a BTreeMap<String, String>,
    /// Whether `SHELL` or the base chose a shell.
    pub(crate) has_shell: bool,
    /// Whether a `WORKDIR` of the file stands before it, in this stage or in one below.
    pub(crate) has_workdir: bool,
    pub(crate) ignored: Option<&'a Ignored>,
}

/// Most names that a similar one is looked for in, and most findings that get one: what comes after is not read.
const NAMES_MAX: usize = 500;
const SUGGESTIONS_MAX: usize = 50;

/// Words of a name that say that its value is a secret, and words that take it back.
const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const NOT_SECRET: [&str; 3] = ["public", "file", "version"];

/// Adds the findings of one instruction.
pub(crate) fn instruction(view: &View<'_>, instruction: &Instruction, findings: &mut Vec<Diagnostic>) {
    for word in expanded_words(instruction) {
        let value = |name: &str| view.value(name);
        for missing in undefined(word, view.escape, &value) {
            view.undefined_var(&missing, findings);
        }
    }
    for body in expanded_bodies(instruction) {
        for missing in undefined_in_body(&body, &|name| view.value(name)) {
            view.undefined_var(&missing, findings);
        }
    }
    match &instruction.kind {
        InstructionKind::Arg(declarations) => view.arg(declarations, findings),
        InstructionKind::Env(pairs) => {
            view.secret_pairs(pairs, findings);
            legacy_format(instruction, pairs, findings);
        }
        InstructionKind::Label(pairs) => legacy_format(instruction, pairs, findings),
        InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => {
            view.shell_form(instruction, command, findings);
        }
        InstructionKind::Workdir(path) => view.workdir(path, findings),
        InstructionKind::Expose(words) => view.expose(words, findings),
        InstructionKind::Add(copy) => view.ignored_sources("ADD", instruction, copy, findings),
        InstructionKind::Copy(copy) => view.ignored_sources("COPY", instruction, copy, findings),
        _ => {}
    }
}

/// Whether an instruction stands in the text; triggers that a base brings lie behind it.
pub(crate) fn is_written(instruction: &Instruction) -> bool {
    instruction.head.span.range().end <= FILE_BYTES_MAX
}

/// `MultipleInstructionsDisallowed`: those that a later one of the same stage takes the place of.
pub(crate) fn repeated(stage: &Stage, findings: &mut Vec<Diagnostic>) {
    let mut last: BTreeMap<&str, Span> = BTreeMap::new();
    let mut replaced = Vec::new();
    for Instruction { head, kind } in stage.instructions.iter().filter(|instruction| is_written(instruction)) {
        let name = match kind {
            InstructionKind::Cmd(_) => "CMD",
            InstructionKind::Entrypoint(_) => "ENTRYPOINT",
            InstructionKind::Healthcheck(_) => "HEALTHCHECK",
            _ => continue,
        };
        let span = head.keyword.span();
        replaced.extend(last.insert(name, span).map(|earlier| (name, earlier, span)));
    }
    for (name, span, later) in replaced {
        let message = format!("this `{name}` has no effect");
        let finding = Diagnostic::warning(rules::MULTIPLE_INSTRUCTIONS_DISALLOWED, span, message)
            .also(later, "this one takes its place")
            .hint(format!("Remove it: a stage has one `{name}`, the last."));
        push(findings, finding);
    }
}

/// `InvalidBaseImagePlatform`.
pub(crate) fn base_platform(image: &str, found: &Platform, wanted: &Platform, span: Span) -> Option<Diagnostic> {
    if found.os.is_empty() || (found.os == wanted.os && found.architecture == wanted.architecture) {
        return None;
    }
    let message = format!("image `{image}` is for `{found}`, expected `{wanted}`");
    let finding = Diagnostic::warning(rules::INVALID_BASE_IMAGE_PLATFORM, span, message);
    Some(finding.hint("Choose an image that exists for this platform, or build for the image's with `--platform`."))
}

impl View<'_> {
    fn value(&self, name: &str) -> Option<String> {
        let declared = || self.args.iter().any(|(known, _)| known == name);
        let known = self.variables.get(name).map(str::to_owned);
        // What the base defines may be anything, so nothing is undefined as long as it is not known.
        let excused = || (self.variables.incomplete || is_hidden(name) || declared()).then(String::new);
        known.or_else(excused)
    }

    /// `UndefinedVar`.
    fn undefined_var(&self, missing: &Missing, findings: &mut Vec<Diagnostic>) {
        let Missing { variable: Undefined { name, span }, guarded } = missing;
        let near = if findings.len() < SUGGESTIONS_MAX {
            nearest(name, self.variables.declared().take(NAMES_MAX))
        } else {
            None
        };
        let hint = match near {
            _ if self.globals.get(name).is_some() => {
                format!("Only `FROM` knows it so far; declare it in this stage with `ARG {name}`.")
            }
            Some(near) => format!("A variable with a similar name is `{near}`."),
            None => format!("Define it first with `ARG {name}` or `ENV {name}=...`."),
        };
        let finding = Diagnostic::warning(rules::UNDEFINED_VAR, *span, format!("variable `{name}` is not defined"))
            .label(if *guarded { "nothing can give it a value" } else { "nothing is put here" });
        push(findings, finding.hint(hint));
    }

    /// The declarations of one `ARG` see each other, from left to right.
    fn arg(&self, declarations: &[ArgDeclaration], findings: &mut Vec<Diagnostic>) {
        let mut before: Vec<&str> = Vec::new();
        for ArgDeclaration { name, default } in declarations {
            let key = text(name, self.escape, self.variables).unwrap_or_default();
            secret("ARG", &key, name.span(), findings);
            // A default that is not used is not expanded.
            if let Some(default) = default.as_ref().filter(|_| !self.build_args.contains_key(&key)) {
                let value = |name: &str| before.contains(&name).then(String::new).or_else(|| self.value(name));
                for missing in undefined(default, self.escape, &value) {
                    self.undefined_var(&missing, findings);
                }
            }
            before.push(name.as_str());
        }
    }

    fn secret_pairs(&self, pairs: &Pairs, findings: &mut Vec<Diagnostic>) {
        for pair in &pairs.pairs {
            let name = text(&pair.name, self.escape, self.variables).unwrap_or_default();
            secret("ENV", &name, pair.name.span(), findings);
        }
    }

    /// `JSONArgsRecommended`.
    fn shell_form(&self, instruction: &Instruction, command: &Command, findings: &mut Vec<Diagnostic>) {
        let Command::Shell(line) = command else { return };
        if self.has_shell || self.variables.incomplete || line.is_empty() {
            return;
        }
        let keyword = instruction.head.keyword.as_str().to_uppercase();
        let hint = match json_form(line.as_str()) {
            _ if looks_like_json(line.as_str()) => json_problem(line.as_str()).to_owned(),
            Some(array) => format!("Write `{keyword} {array}`; if a shell is meant, choose it with `SHELL`."),
            None => "Write it as a JSON array; if a shell is meant, choose it with `SHELL`.".to_owned(),
        };
        let message = format!("this `{keyword}` is run by a shell, which keeps signals from the program");
        push(findings, Diagnostic::warning(rules::JSON_ARGS_RECOMMENDED, line.span(), message).hint(hint));
    }

    /// `WorkdirRelativePath`.
    fn workdir(&self, path: &Text, findings: &mut Vec<Diagnostic>) {
        if self.has_workdir || self.variables.incomplete && path.as_str().contains('$') {
            return;
        }
        let Some(expanded) = text(path, self.escape, self.variables).filter(|path| !path.starts_with('/')) else {
            return;
        };
        let message = format!("where `{expanded}` is depends on the base image");
        let finding = Diagnostic::warning(rules::WORKDIR_RELATIVE_PATH, path.span(), message)
            .label("not an absolute path")
            .hint("Write the whole path, from `/` on.");
        push(findings, finding);
    }

    /// `ExposeProtoCasing`, `ExposeInvalidFormat`.
    fn expose(&self, words: &[Text], findings: &mut Vec<Diagnostic>) {
        for word in words {
            for port in split(word, self.escape, self.variables) {
                let (place, container) = port.rsplit_once(':').map_or((None, &*port), |(place, at)| (Some(place), at));
                let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
                if protocol != protocol.to_lowercase() {
                    let message = format!("protocol `{protocol}` is not in lower case");
                    let finding = Diagnostic::warning(rules::EXPOSE_PROTO_CASING, word.span(), message);
                    push(findings, finding.hint(format!("Write `{}`.", port.to_lowercase())));
                }
                if place.is_some() {
                    let message = format!("`{port}` names more than a port of the container");
                    let finding = Diagnostic::warning(rules::EXPOSE_INVALID_FORMAT, word.span(), message)
                        .hint(format!("Write `{container}`; the host's port is chosen with `run -p`."));
                    push(findings, finding);
                }
            }
        }
    }

    /// `CopyIgnoredFile`. Where the ignore file takes something back, a pattern says too little to be sure.
    fn ignored_sources(&self, keyword: &str, instruction: &Instruction, copy: &Copy, findings: &mut Vec<Diagnostic>) {
        let Some(Ignored { name, rules }) = self.ignored.filter(|ignored| !ignored.rules.has_exceptions()) else {
            return;
        };
        if instruction.head.flag(FlagName::From).is_some() {
            return;
        }
        for source in &copy.sources {
            let Source::Path(path) = source else { continue };
            let Some(pattern) = text(path, self.escape, self.variables).filter(|path| !is_remote(path)) else {
                continue;
            };
            // Nothing is above the root of the context.
            let rooted = clean(format!("/{pattern}").as_bytes());
            if !rules.ignored(&rooted[1..]) {
                continue;
            }
            let Some(line) = rules.matched_line(&rooted[1..]) else { continue };
            let message = format!("`{keyword}` finds nothing at `{pattern}`: line {line} of `{name}` leaves it out");
            let finding = Diagnostic::warning(rules::COPY_IGNORED_FILE, path.span(), message);
            push(findings, finding.hint("Change the ignore file, or do not copy it."));
        }
    }
}

/// Whether a source is an address of HTTP or git.
fn is_remote(source: &str) -> bool {
    is_http(source) || parse_git(source, AddressPlace::Instruction).is_some()
}

/// `LegacyKeyValueFormat`.
fn legacy_format(instruction: &Instruction, pairs: &Pairs, findings: &mut Vec<Diagnostic>) {
    let (true, [pair]) = (pairs.legacy, pairs.pairs.as_slice()) else { return };
    let keyword = instruction.head.keyword.as_str().to_uppercase();
    let (name, value) = (pair.name.as_str(), pair.value.as_str());
    // `ENV A = 1` gives `= 1`, which nobody means.
    let meant = value.strip_prefix('=').map(str::trim_start);
    let value = quoted(meant.unwrap_or(value));
    let hint = match meant {
        Some(_) => {
            format!("The value begins with `=`, because of the blank before it. Write `{keyword} {name}={value}`.")
        }
        None => format!("Write `{keyword} {name}={value}`."),
    };
    let message = format!("`{keyword}` without an equals sign is an old form");
    let finding = Diagnostic::warning(rules::LEGACY_KEY_VALUE_FORMAT, pair.name.span().to(pair.value.span()), message);
    push(findings, finding.hint(hint));
}

/// Returns a value as it is written after an equals sign.
fn quoted(value: &str) -> String {
    let plain = !value.is_empty() && !value.contains(|char: char| char.is_whitespace() || "\"'\\".contains(char));
    if plain { value.to_owned() } else { format!("\"{}\"", value.replace('"', "\\\"")) }
}

/// Whether the name of a variable says that its value is a secret, as the check `SecretsUsedInArgOrEnv` has it.
///
/// Reference: BuildKit's `SecretsUsedInArgOrEnv` (E.3 of the feature list).
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&NOT_SECRET)
}

/// `SecretsUsedInArgOrEnv`.
fn secret(keyword: &str, name: &str, span: Span, findings: &mut Vec<Diagnostic>) {
    if is_secret_name(name) {
        let lower = name.to_ascii_lowercase();
        let message = format!("`{name}` looks like a secret, and `{keyword}` keeps it in the image");
        let finding = Diagnostic::warning(rules::SECRETS_USED_IN_ARG_OR_ENV, span, message).hint(format!(
            "Mount it where it is needed: `RUN --mount=type=secret,id={}`.",
            if lower.is_empty() { "NAME" } else { &lower }
        ));
        push(findings, finding);
    }
}

fn looks_like_json(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('[') && line.ends_with(']') && line.contains(['"', '\'', ','])
}

/// Says why something that looks like a JSON array may be none.
fn json_problem(line: &str) -> &'static str {
    let inside = line.trim().trim_end_matches(']').trim_end();
    if inside.ends_with(',') {
        "It looks like a JSON array and is none: no comma may stand before the `]`."
    } else if !line.contains('"') {
        "It looks like a JSON array and is none: its strings need double quotes."
    } else {
        "It looks like a JSON array and is none: that has strings in double quotes, with commas between them."
    }
}

/// Returns the JSON array that a shell would make of the words, where no shell is needed for them.
fn json_form(line: &str) -> Option<String> {
    const FOR_THE_SHELL: &str = "\"'\\$`|&;<>()*?[]{}~#=!\n";
    const BUILT_IN: [&str; 10] = [".", ":", "cd", "eval", "exit", "export", "read", "set", "source", "unset"];
    let mut words: Vec<&str> = line.split_whitespace().collect();
    // What a shell is replaced by needs no shell at all.
    if words.len() > 1 && words[0] == "exec" {
        words.remove(0);
    }
    if line.contains(|char: char| FOR_THE_SHELL.contains(char)) || BUILT_IN.contains(&words[0]) {
        return None;
    }
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    Some(format!("[{}]", words.join(", ")))
}
