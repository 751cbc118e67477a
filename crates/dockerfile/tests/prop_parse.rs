//! Laws of the parser and of expansion: they hold for every text, not only for good ones.

#![expect(clippy::disallowed_methods, reason = "a test reads its corpus from the disk")]

mod dump;

use proptest::prelude::*;
use stave_dockerfile::check::outline::outline;
use stave_dockerfile::check::{self, rules};
use stave_dockerfile::expand::{EXPANDED_BYTES_MAX, expand, expand_words};
use stave_dockerfile::plan::{Facts, PlanOptions, Survey, survey};
use stave_dockerfile::{Diagnostic, Parse, Span, Text, parse};
use stave_oci::Platform;

/// What makes a parser stumble, and what leads it on.
const PIECES: &[&str] = &[
    "FROM a\n",
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "LABEL ",
    "ARG ",
    "ONBUILD ",
    "HEALTHCHECK ",
    "SHELL ",
    "VOLUME ",
    "CMD ",
    "EXPOSE ",
    "USER ",
    "from ",
    " AS ",
    "--",
    "--from=",
    "--mount=",
    "type=cache,",
    "target=/a",
    "--link",
    "--interval=",
    "1m30s",
    "=",
    "\n",
    "\r\n",
    "\r",
    "\\\n",
    "\\ \r\n",
    "`\n",
    "\\",
    "`",
    "\"",
    "'",
    "$",
    "${",
    "}",
    ":-",
    ":?",
    "#",
    "##",
    "%",
    "/",
    "//",
    "*",
    "?",
    "<<",
    "<<-",
    "<<EOF",
    "<<'E F'",
    "EOF\n",
    "\nEOF\n",
    "\n\tEOF\n",
    "3<<A",
    "\nA\n",
    "[",
    "]",
    "[\"a\", \"b\"]",
    "[\"\\u00e9\"]",
    "[1]",
    ",",
    "{",
    "# escape=`\n",
    "# check=skip=all\n",
    "# syntax=docker/dockerfile:1\n",
    "//syntax=a\n",
    "{\"syntax\":\"a\"}",
    "#!/bin/sh\n",
    "# x\n",
    " ",
    "\t",
    "  ",
    "\u{a0}",
    "\u{feff}",
    "é",
    "日本",
    "😀",
    "\0",
    "a",
    "b=c",
    "NONE",
    "CMD",
    "x y",
];

fn pieces() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

/// A text of the corpus with some of its parts cut out, doubled or replaced.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0_usize..12, proptest::sample::select(PIECES), 0..3);
    (proptest::sample::select(corpus()), proptest::collection::vec(edit, 1..8)).prop_map(|(mut text, edits)| {
        for (place, len, piece, kind) in edits {
            let chars: Vec<char> = text.chars().collect();
            let start = place.index(chars.len() + 1);
            let end = (start + len).min(chars.len());
            let part: String = chars[start..end].iter().collect();
            let middle = match kind {
                0 => piece.to_owned(),
                1 => format!("{part}{part}"),
                _ => format!("{part}{piece}"),
            };
            text = chars[..start].iter().collect::<String>() + &middle + &chars[end..].iter().collect::<String>();
        }
        text
    })
}

fn corpus() -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data");
    let mut texts = Vec::new();
    for kind in ["ok", "err"] {
        for case in std::fs::read_dir(root.join(kind)).expect("the corpus is there") {
            let path = case.expect("the corpus can be read").path().join("Dockerfile");
            let text = std::fs::read_to_string(path).expect("a case has a text");
            if text.len() < 10_000 {
                texts.push(text);
            }
        }
    }
    texts.sort();
    texts
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![".*", "(?s).{0,200}", pieces(), pieces(), mutated(), mutated()]
}

fn inside(text: &str, span: Span) -> bool {
    span.start <= span.end && text.get(span.range()).is_some()
}

fn check_spans(text: &str, parsed: &Parse) -> Result<(), TestCaseError> {
    for Diagnostic { labels, message, code, .. } in &parsed.diagnostics {
        prop_assert_eq!(labels.iter().filter(|label| label.primary).count(), 1, "{}", message);
        prop_assert!(
            stave_dockerfile::codes::TABLE.iter().any(|known| known.code == *code) || rules::find(code).is_some()
        );
        for label in labels {
            prop_assert!(inside(text, label.span), "{message}: {:?}", label.span);
        }
    }
    let mut previous = Span::default();
    for stage in &parsed.file.stages {
        for head in std::iter::once(&stage.head).chain(stage.instructions.iter().map(|instruction| &instruction.head)) {
            prop_assert!(inside(text, head.span));
            prop_assert!(previous.end <= head.span.start, "instructions overlap: {previous:?} {:?}", head.span);
            previous = head.span;
        }
    }
    for word in dump::texts(&parsed.file) {
        prop_assert!(inside(text, word.span()), "{word:?}");
        let bounds: Vec<usize> = word.as_str().char_indices().map(|(at, _)| at).chain([word.len()]).collect();
        for pair in bounds.windows(2) {
            let span = word.span_of(pair[0]..pair[1]);
            prop_assert!(inside(text, span), "{word:?} {pair:?} {span:?}");
            prop_assert!(!span.is_empty(), "{word:?} {pair:?}: a character comes from somewhere");
        }
    }
    Ok(())
}

fn lookup(name: &str) -> Option<String> {
    match name {
        "a" => Some("value a".to_owned()),
        "b" => Some(String::new()),
        _ => None,
    }
}

proptest! {
    /// Whatever the text is, parsing ends, and everything that it says points into the text.
    #[test]
    fn every_span_lies_inside_the_text(text in any_text()) {
        check_spans(&text, &parse(&text))?;
    }

    /// Whatever the text is, it is checked, and everything that is found points into the text.
    #[test]
    fn every_finding_lies_inside_the_text(text in any_text()) {
        let parsed = parse(&text);
        let options = PlanOptions::new("linux/amd64".parse::<Platform>().expect("a platform"));
        let Survey { mistakes, findings, .. } = survey(&parsed.file, &options, &Facts::default());
        for label in mistakes.iter().chain(&findings).flat_map(|diagnostic| &diagnostic.labels) {
            prop_assert!(inside(&text, label.span), "{:?}", label.span);
        }
        let count = findings.len();
        let settled = check::settle(&parsed.file, &check::Config::default(), findings);
        prop_assert!(settled.len() <= count);
        for finding in settled {
            prop_assert!(rules::find(finding.code).is_some());
            let (first, last) = check::lines(&parsed.file, &text, finding.span());
            prop_assert!(1 <= first && first <= last && last <= text.matches('\n').count() + 1);
        }
        if let Ok(outline) = outline(&parsed.file, &options) {
            prop_assert!(outline.args.iter().all(|arg| inside(&text, arg.span)));
        }
    }

    /// How lines end changes neither the tree nor the mistakes.
    #[test]
    fn line_endings_change_nothing(text in any_text()) {
        let unix = text.replace('\r', "");
        let windows = unix.replace('\n', "\r\n");
        let (unix, windows) = (parse(&unix), parse(&windows));
        prop_assert_eq!(dump::file(&unix.file), dump::file(&windows.file));
        let said = |parsed: &Parse| -> Vec<String> { parsed.diagnostics.iter().map(|found| found.message.clone()).collect() };
        prop_assert_eq!(said(&unix), said(&windows));
    }

    /// A file without mistakes can be cut at any instruction, and the rest still has none.
    #[test]
    fn a_tree_has_no_unreadable_part_without_an_error(text in any_text()) {
        let parsed = parse(&text);
        if !parsed.has_errors() {
            // A trigger that cannot be read is a mistake of who builds on it: it stands deeper.
            let unreadable = |line: &str| line.trim_start().starts_with("Unreadable") && !line.starts_with("    ");
            prop_assert!(!dump::file(&parsed.file).lines().any(unreadable));
            prop_assert!(!parsed.file.stages.is_empty());
        }
    }

    /// Expansion ends for every word, points into it, and its two forms agree.
    #[test]
    fn expansion_is_total(text in any_text(), offset in 0_u32..1000, escape in proptest::sample::select(vec!['\\', '`'])) {
        let word = Text::verbatim(&text, offset);
        match (expand(&word, escape, &lookup), expand_words(&word, escape, &lookup)) {
            (Ok(one), Ok(several)) => {
                prop_assert!(one.text.len() <= EXPANDED_BYTES_MAX);
                let squeezed = |text: &str| text.chars().filter(|char| !char.is_whitespace()).collect::<String>();
                prop_assert_eq!(squeezed(&one.text), squeezed(&several.words.concat()));
                for found in one.undefined {
                    let range = found.span.start - offset..found.span.end - offset;
                    prop_assert_eq!(&text[range.start as usize..range.end as usize], found.name);
                }
            }
            (Err(one), Err(several)) => {
                prop_assert_eq!(&one, &several);
                let span = one.span();
                prop_assert!(inside(&text, Span { start: span.start - offset, end: span.end - offset }), "{one:?}");
            }
            (one, several) => prop_assert!(false, "{one:?} {several:?}"),
        }
    }

    /// What is quoted comes out as it went in.
    #[test]
    fn quoting_protects_everything(text in "[^']*") {
        let word = Text::verbatim(&format!("'{text}'"), 0);
        prop_assert_eq!(expand(&word, '\\', &lookup).unwrap().text, text);
    }

    /// A pattern without wildcards takes away exactly what it says.
    #[test]
    fn literal_patterns_are_prefixes_and_suffixes(value in "[ab]{0,6}", part in "[ab]{0,3}") {
        let lookup = |name: &str| (name == "v").then(|| value.clone());
        let word = |text: String| expand(&Text::verbatim(&text, 0), '\\', &lookup).unwrap().text;
        prop_assert_eq!(word(format!("${{v#{part}}}")), value.strip_prefix(&part).unwrap_or(&value));
        prop_assert_eq!(word(format!("${{v%{part}}}")), value.strip_suffix(&part).unwrap_or(&value));
        if !part.is_empty() {
            prop_assert_eq!(word(format!("${{v//{part}/x}}")), value.replace(&part, "x"));
            prop_assert_eq!(word(format!("${{v/{part}/x}}")), value.replacen(&part, "x", 1));
        }
    }
}

/// Many lines, many heredocs without end, many continuations: the time grows with the length, not faster.
#[test]
fn long_files_are_parsed_in_reasonable_time() {
    for line in [
        "RUN <<EOF\n",
        "ENV a=b \\\n",
        "COPY \"a b\" c d e\n",
        "RUN ${a:-\\\n",
        "&&\n",
        "LABEL a=\"${b}\" c='d' \\\n\n",
    ] {
        let text = format!("FROM a\n{}", line.repeat(200_000 / line.len()));
        let parsed = parse(&text);
        assert!(!parsed.file.stages.is_empty(), "{line}");
    }
}
