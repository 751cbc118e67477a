//! Laws of the plan, over random files of several stages.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stave_dockerfile::check::outline::outline;
use stave_dockerfile::check::targets::targets;
use stave_dockerfile::plan::{Base, BuildPlan, Facts, Plan, PlanOptions, Survey, plan, survey};
use stave_dockerfile::{Diagnostic, parse};
use stave_graph::{CacheKey, TreeDigest, cache_key};
use stave_oci::{DiffId, ImageConfig, ImageId, Platform, RootFs};

/// A stage as lines; `{N}` stands for the name of stage `N`.
#[derive(Debug, Clone)]
struct Draft {
    base: Option<prop::sample::Index>,
    lines: Vec<Line>,
}

#[derive(Debug, Clone)]
enum Line {
    Plain(&'static str),
    CopyFrom(prop::sample::Index),
}

const LINES: &[&str] = &[
    "RUN make",
    "RUN [\"/bin/x\", \"y\"]",
    "WORKDIR /w",
    "WORKDIR sub",
    "COPY . /src/",
    "COPY a b c/",
    "ADD a.tar /",
    "ENV A=1 B=$A",
    "ARG C=2",
    "ARG TARGETARCH",
    "USER 5",
    "CMD [\"x\"]",
    "ENTRYPOINT e",
    "LABEL l=$A",
    "EXPOSE 80-81",
    "SHELL [\"/bin/bash\", \"-c\"]",
    "VOLUME /v",
    "HEALTHCHECK CMD x",
    "STOPSIGNAL SIGTERM",
];

fn any_draft() -> impl Strategy<Value = Draft> {
    let line = prop_oneof![
        4 => prop::sample::select(LINES).prop_map(Line::Plain),
        1 => any::<prop::sample::Index>().prop_map(Line::CopyFrom),
    ];
    (any::<Option<prop::sample::Index>>(), prop::collection::vec(line, 0..6))
        .prop_map(|(base, lines)| Draft { base, lines })
}

fn any_drafts() -> impl Strategy<Value = Vec<Draft>> {
    prop::collection::vec(any_draft(), 1..6)
}

/// Writes a file. Stages are called by names or by numbers; `separator` stands between lines.
fn write(drafts: &[Draft], names: bool, separator: &str) -> String {
    let mut lines = Vec::new();
    for (number, draft) in drafts.iter().enumerate() {
        let base = match &draft.base {
            Some(index) if number > 0 && names => format!("stage{}", index.index(number)),
            _ => ["scratch", "image"][number % 2].to_owned(),
        };
        let name = if names { format!(" AS Stage{number}") } else { String::new() };
        lines.push(format!("FROM {base}{name}\n"));
        lines.extend(draft.lines.iter().map(|line| match line {
            Line::Plain(line) => format!("{line}\n"),
            Line::CopyFrom(_) if number == 0 => "RUN first\n".to_owned(),
            Line::CopyFrom(index) => {
                let prefix = if names { "STAGE" } else { "" };
                format!("COPY --from={prefix}{} /out /in/\n", index.index(number))
            }
        }));
    }
    lines.join(separator)
}

fn outcome(text: &str, target: Option<&str>) -> (Plan, Vec<Diagnostic>) {
    let platform: Platform = "linux/amd64".parse().expect("a platform");
    let options = PlanOptions { target: target.map(str::to_owned), ..PlanOptions::new(platform) };
    let parsed = parse(text);
    let mut facts = Facts::default();
    loop {
        let (planned, mut found) = plan(&parsed.file, &options, &facts);
        let Plan::Need(requests) = planned else {
            found.extend(parsed.diagnostics);
            return (planned, found);
        };
        for (request, _) in requests {
            let diff_ids = vec![DiffId::of(request.reference.as_bytes())];
            let rootfs = RootFs { diff_ids, ..RootFs::default() };
            let config = ImageConfig { rootfs, ..ImageConfig::default() };
            let old = facts.bases.insert(request, Base { id: ImageId::of(b"id"), config });
            assert_eq!(old, None, "nothing is asked for twice");
        }
    }
}

fn ready(text: &str, target: Option<&str>) -> BuildPlan {
    match outcome(text, target) {
        (Plan::Ready(plan), _) => *plan,
        (_, diagnostics) => panic!("{text}\n{diagnostics:?}"),
    }
}

fn target_key(plan: &BuildPlan) -> CacheKey {
    let mut keys = BTreeMap::new();
    for node in plan.graph.reachable(plan.target) {
        let op = plan.graph.op(node);
        let inputs: Vec<_> = op.inputs().map(|input| keys[&input]).collect();
        let selection = op.reads_outside().then(|| TreeDigest::of(b"context"));
        keys.insert(node, cache_key(op, &inputs, selection.as_ref()));
    }
    keys[&plan.target]
}

proptest! {
    /// What is not needed changes nothing, wherever it stands.
    #[test]
    fn stages_that_are_not_needed_change_no_key(drafts in any_drafts(), extra in any_draft()) {
        let text = write(&drafts, true, "");
        let target = format!("stage{}", drafts.len() - 1);
        let unused = write(&[Draft { base: None, lines: extra.lines }], true, "").replace("Stage0", "Unused");
        let before = ready(&format!("{unused}{text}"), Some(&target));
        let after = ready(&format!("{text}{unused}"), Some(&target));
        let alone = ready(&text, None);
        prop_assert_eq!(&alone.graph, &after.graph);
        prop_assert_eq!(target_key(&alone), target_key(&before));
        prop_assert_eq!(&alone.history, &before.history);
        prop_assert_eq!(alone.graph.reachable(alone.target).len(), alone.graph.len());
    }

    /// Comments and empty lines move everything and change nothing; neither does going by number.
    #[test]
    fn where_and_how_it_is_written_changes_no_key(drafts in any_drafts()) {
        let named = ready(&write(&drafts, true, ""), None);
        let moved = ready(&write(&drafts, true, "# a comment\n\n"), None);
        prop_assert_eq!(&named.config, &moved.config);
        prop_assert_eq!(target_key(&named), target_key(&moved));
        let plain: Vec<_> = drafts.iter().map(|draft| Draft { base: None, lines: draft.lines.clone() }).collect();
        prop_assert_eq!(
            target_key(&ready(&write(&plain, true, ""), None)),
            target_key(&ready(&write(&plain, false, ""), None))
        );
    }

    /// As many history lines with a layer as operations on top of the base, and steps in order.
    #[test]
    fn every_layer_has_its_line_and_every_stage_its_numbers(drafts in any_drafts()) {
        let plan = ready(&write(&drafts, true, ""), None);
        for item in &plan.history {
            let makes_a_layer = ["RUN", "COPY", "ADD"].iter().any(|word| item.created_by.starts_with(word))
                || (item.created_by.starts_with("WORKDIR") && item.created_by != "WORKDIR /");
            prop_assert_eq!(item.node.is_some(), makes_a_layer, "{}", item.created_by);
        }
        for pair in plan.steps.windows(2) {
            let follows = pair[0].stage == pair[1].stage && pair[0].number + 1 == pair[1].number;
            let begins = pair[0].stage < pair[1].stage && pair[0].number == pair[0].of && pair[1].number == 1;
            prop_assert!(follows || begins, "{:?}", pair);
        }
        prop_assert!(plan.steps.iter().all(|step| plan.graph.op(step.node).inputs().count() > 0 || step.number == 1));
    }

    /// Any text is planned or refused; a refusal has a reason, and every word that it points at is in the text.
    #[test]
    fn any_text_is_planned_or_refused_with_a_reason(
        lines in prop::collection::vec(
            prop_oneof![
                "(FROM|COPY|ADD|RUN|ENV|ARG|WORKDIR|EXPOSE|USER|LABEL|VOLUME|CMD|STOPSIGNAL|SHELL) [ -~]{0,24}",
                "FROM [ab$]{1,2}( AS [ab])?",
                "COPY (--from=[ab0-2$] )?(--chmod=[0-9a]{1,4} )?[a-c$*\\[]{1,3} [a-c/.$]{0,3}",
                prop::sample::select(LINES).prop_map(str::to_owned),
            ],
            0..12,
        ),
    ) {
        let text = lines.join("\n");
        let (planned, diagnostics) = outcome(&text, None);
        if planned == Plan::Invalid {
            prop_assert!(diagnostics.iter().any(Diagnostic::is_error), "{}", text);
        }
        let file = parse(&text).file;
        let options = PlanOptions::new("linux/amd64".parse::<Platform>().expect("a platform"));
        let Survey { findings, mistakes, .. } = survey(&file, &options, &Facts::default());
        for label in [diagnostics, findings, mistakes].iter().flatten().flat_map(|diagnostic| &diagnostic.labels) {
            prop_assert!(text.get(label.span.range()).is_some());
        }
        if let Ok(outline) = outline(&file, &options) {
            prop_assert!(outline.args.iter().all(|arg| text.get(arg.span.range()).is_some()));
        }
        prop_assert_eq!(targets(&file).len(), file.stages.len());
    }
}
