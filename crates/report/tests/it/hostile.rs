//! Records in which anything may stand anywhere, and what must hold of all text that is made of them.

use std::collections::BTreeMap;
use std::time::Duration;

use html5gum::{DefaultEmitter, Token, Tokenizer};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use stave_anatomy::{Builder, Entry, Layer, What};
use stave_dockerfile::{Diagnostic, Severity, Span};
use stave_history::Record;
use stave_history::event::{
    BuiltImage, Ending, Event, LayerLine, Miss, Origin, Remarks, RequestFacts, StepId, StepLine, TaskId, TaskKind,
};
use stave_report::{ImageLayers, LogExcerpt};

/// Text that means something in HTML, in SVG, in a terminal or in another direction.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let evil = [
        "</script><script>alert(1)</script>",
        "<!--",
        "-->",
        "]]>",
        "&lt;&#x3c;",
        "\" onmouseover=\"x",
        "' x='",
        "\u{1b}[31m\u{1b}]8;;http://x\u{7}",
        "\u{0}\u{8}\u{9b}",
        "\u{202e}\u{2066}\u{2028}",
        "\u{ffff}\u{fdd0}",
        "</style>",
        "日本語 e\u{301}",
        "\r\n\t",
    ];
    let pieces = prop_oneof![
        proptest::sample::select(evil.to_vec()).prop_map(str::to_owned),
        "[a-z /.:-]{0,12}",
        any::<String>(),
    ];
    proptest::collection::vec(pieces, 0..4).prop_map(|pieces| pieces.concat())
}

fn ids() -> impl Strategy<Value = Vec<StepId>> {
    proptest::collection::vec((0_u32..16).prop_map(StepId), 0..4)
}

fn span() -> impl Strategy<Value = Span> {
    (0_usize..80, 0_usize..80).prop_map(|(start, more)| Span::new(start, start + more))
}

fn step() -> impl Strategy<Value = StepLine> {
    let names = (text(), text(), proptest::option::of(text()), proptest::collection::vec(text(), 0..3));
    (names, any::<u8>(), ids(), span()).prop_map(|((stage, title, platform, bases), number, inputs, span)| StepLine {
        step: StepId(0),
        platform,
        stage,
        number: u32::from(number),
        of: 9,
        title,
        span,
        inputs,
        bases,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let step = || (0_u32..14).prop_map(StepId);
    let took = || (0_u64..100_000).prop_map(Duration::from_micros);
    prop_oneof![
        step().prop_map(|step| Event::StepStarted { step }),
        (step(), took(), text()).prop_map(|(step, took, result)| Event::StepFinished { step, took, result }),
        (step(), took(), text()).prop_map(|(step, took, message)| Event::StepFailed {
            step,
            took,
            message: Some(message)
        }),
        (step(), took(), text()).prop_map(|(step, saved, result)| Event::StepCached {
            step,
            saved: Some(saved),
            origin: Origin::Imported,
            result
        }),
        (step(), text(), text()).prop_map(|(step, old, new)| {
            Event::StepMissed { step, miss: Miss::Instruction { old: Some(old), new } }
        }),
        text().prop_map(|message| Event::Notice { message }),
        text().prop_map(|title| Event::TaskStarted { task: TaskId(1), kind: TaskKind::Other, title }),
        (text(), span(), text(), text()).prop_map(|(message, span, label, hint)| {
            let one = Diagnostic { severity: Severity::Error, ..Diagnostic::warning("D001", span, message) };
            let diagnostics = vec![one.label(label).hint(hint).also(span, "also")];
            Event::Findings(Remarks { name: String::new(), text: String::new(), diagnostics })
        }),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    let layer = (proptest::option::of(0_u32..14), any::<u32>(), text()).prop_map(|(step, bytes, diff_id)| LayerLine {
        step: step.map(StepId),
        of_base: step.is_none(),
        bytes: u64::from(bytes),
        diff_id,
    });
    let image = (text(), text(), proptest::collection::vec(layer, 0..4))
        .prop_map(|(platform, image, layers)| BuiltImage { platform, image, layers });
    prop_oneof![
        (proptest::collection::vec(image, 0..3), text(), any::<u64>()).prop_map(|(images, name, size)| Ending::Built {
            images,
            index: None,
            names: vec![name],
            size,
            ran: 1,
            cached: 1,
        }),
        (proptest::option::of(0_u32..20), text())
            .prop_map(|(step, message)| Ending::Failed { step: step.map(StepId), message }),
        Just(Ending::Interrupted),
    ]
}

/// A record of events that need not make sense.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    let begun = (text(), text(), text(), text(), text()).prop_map(|(build, name, text, context, value)| Event::Begun {
        build,
        directory: "x".into(),
        name,
        text,
        request: RequestFacts { context, build_args: vec![(value.clone(), Some(value))], ..RequestFacts::default() },
    });
    let planned = proptest::collection::vec(step(), 0..14).prop_map(|mut steps| {
        for (place, step) in (0..).zip(&mut steps) {
            step.step = StepId(place);
        }
        Event::Planned { steps }
    });
    let events = proptest::collection::vec((0_u64..50_000, event()), 0..30);
    (begun, planned, events, proptest::option::of(ending())).prop_map(|(begun, planned, events, ending)| {
        let mut record = Record::default();
        record.take(Duration::ZERO, &begun);
        record.take(Duration::ZERO, &planned);
        for (at, event) in &events {
            record.take(Duration::from_micros(*at), event);
        }
        if let Some(ending) = ending {
            record.take(Duration::from_millis(60), &Event::Ended { ending });
        }
        record
    })
}

/// Logs of any bytes.
pub(crate) fn logs() -> impl Strategy<Value = BTreeMap<StepId, LogExcerpt>> {
    let bytes = || prop_oneof![text().prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..60)];
    let log = (bytes(), any::<u64>(), bytes()).prop_map(|(head, left_out, tail)| LogExcerpt { head, left_out, tail });
    proptest::collection::btree_map((0_u32..14).prop_map(StepId), log, 0..8)
}

/// Layers of any files.
pub(crate) fn layers() -> impl Strategy<Value = Vec<ImageLayers>> {
    let entry =
        (proptest::collection::vec(text(), 1..5), 0_u8..6, 1_u64..5_000_000).prop_map(|(parts, kind, bytes)| {
            let parts: Vec<String> = parts.iter().map(|part| part.replace(['/', '\u{0}'], "_") + "x").collect();
            (parts.join("/"), kind, bytes)
        });
    let layer = (text(), proptest::collection::vec(entry, 0..8));
    (text(), proptest::collection::vec(layer, 0..5), any::<bool>()).prop_map(|(platform, layers, is_known)| {
        let mut builder = Builder::new();
        for (created_by, entries) in &layers {
            builder.layer(Layer { created_by: Some(created_by.clone()), ..Layer::default() });
            for (path, kind, bytes) in entries {
                let what = match kind {
                    0 => What::Directory { hides: None },
                    1 => What::Whiteout,
                    2 => What::Link,
                    _ => What::File { content: *bytes },
                };
                builder.entry(&Entry { path: path.as_bytes(), what, bytes: *bytes }).expect("not too many");
            }
        }
        let anatomy = if is_known { Ok(builder.finish()) } else { Err(platform.clone()) };
        vec![ImageLayers { platform, anatomy }]
    })
}

/// Elements that have no end.
const VOID: [&str; 3] = ["meta", "link", "input"];

/// Holds that HTML has no mistake, that every element ends where it should, and that there is nothing in it which only
/// text of others can bring: comments, further scripts, handlers of events, control characters.
pub(crate) fn sound(html: &str) -> Result<(), TestCaseError> {
    prop_assert!(!html.chars().any(|one| one.is_control() && !matches!(one, '\n' | '\t')), "a control character");
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let mut open: Vec<String> = Vec::new();
    let mut scripts = 0;
    for token in Tokenizer::new_with_emitter(html, emitter) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                scripts += usize::from(name == "script");
                for attribute in tag.attributes.keys() {
                    let attribute = String::from_utf8_lossy(attribute).into_owned();
                    prop_assert!(!attribute.starts_with("on") && attribute != "style", "{attribute} in {name}");
                }
                if !VOID.contains(&name.as_str()) && !tag.self_closing {
                    open.push(name);
                }
            }
            Token::EndTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name).into_owned();
                prop_assert_eq!(open.pop(), Some(name));
            }
            Token::Comment(_) => prop_assert!(false, "a comment"),
            Token::Error(error) => prop_assert!(false, "{:?}", error),
            Token::String(_) | Token::Doctype(_) => {}
        }
    }
    prop_assert!(open.is_empty(), "{open:?}");
    prop_assert!(scripts <= 1, "{scripts} scripts");
    Ok(())
}
