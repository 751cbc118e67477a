//! Graphs of builds and of files.

use proptest::prelude::*;
use stave_dockerfile::plan::{PlanOptions, stage_sources};
use stave_report::{Detail, Diagram, dot, mermaid, svg};

use crate::builds::{self, STORY};
use crate::hostile;

fn of_file(text: &str, target: Option<&str>) -> Diagram {
    let mut options = PlanOptions::new("linux/amd64".parse().expect("a platform"));
    options.target = target.map(str::to_owned);
    let parsed = stave_dockerfile::parse(text);
    Diagram::of_file(&stage_sources(&parsed.file, &options).expect("a sound file"))
}

#[test]
fn a_build_is_drawn_for_graphviz() {
    assert_eq!(
        dot(&Diagram::of_build(&builds::built(), Detail::Stages)),
        r#"digraph build {
  rankdir=LR;
  node [shape=box, fontname="sans-serif", fontsize=11];
  edge [fontname="sans-serif", fontsize=9];
  n0 [label="golang:1.7.3", style="dashed"];
  n1 [label="alpine:latest", style="dashed"];
  n2 [label="builder\n5 steps, ran 4.05 s", style="rounded", penwidth=2];
  n3 [label="stage-1\n3 steps, ran 1.22 s", style="rounded", peripheries=2, penwidth=2];
  n0 -> n2;
  n1 -> n3;
  n2 -> n3 [style=dashed];
}
"#
    );
}

#[test]
fn a_file_that_was_not_built_is_drawn_for_markdown() {
    let text = "ARG base=alpine\nFROM $base:3 AS tools\nFROM tools AS test\nFROM \"scratch\"\n\
                COPY --from=tools /a /a\nCOPY --from=1 /b /b\n";
    assert_eq!(
        mermaid(&of_file(text, None)),
        "flowchart LR\n  n0([\"alpine:3\"])\n  n1[\"tools<br>1 instruction\"]\n  n2[\"test<br>1 instruction\"]\n  \
         n3[[\"stage-2<br>3 instructions\"]]\n  n0 --> n1\n  n1 --> n2\n  n1 -.-> n3\n  n2 -.-> n3\n"
    );
    let only = mermaid(&of_file(text, Some("tools")));
    assert!(only.contains("n1[[\"tools") && !only.contains("test"), "{only}");
}

#[test]
fn a_stage_that_goes_on_from_a_stage_is_not_drawn_like_one_that_copies_from_it() {
    let diagram = Diagram::of_build(&builds::stage_of_a_stage(), Detail::Stages);
    let name = |place: usize| diagram.nodes[place].name.as_str();
    let mut edges: Vec<String> =
        diagram.edges.iter().map(|edge| format!("{} {} {:?}", name(edge.from), name(edge.to), edge.kind)).collect();
    edges.sort();
    let expected = [
        "alpine base Base",
        "alpine linked Base",
        "app linked Files",
        "app more Files",
        "app stage-3 Files",
        "base app Base",
        "base more Base",
    ];
    assert_eq!(edges, expected);
}

#[test]
fn steps_are_drawn_one_by_one() {
    let diagram = Diagram::of_build(&builds::built(), Detail::Steps);
    assert_eq!((diagram.nodes.len(), diagram.edges.len()), (10, 9));
    let text = mermaid(&diagram);
    assert!(text.contains("class n5,n6,n9 critical"), "{text}");
    assert!(text.contains("[stage-1 3/3] COPY --from=builder /go/src/href-counter/app .<br>ran 15 ms"), "{text}");
}

#[test]
fn a_failed_stage_is_seen_in_every_language() {
    let diagram = Diagram::of_build(&builds::failed(), Detail::Stages);
    assert!(dot(&diagram).contains("failed"));
    assert!(mermaid(&diagram).contains("failed"));
    assert!(svg(&diagram).contains("node stage failed"));
}

#[test]
fn names_cannot_leave_their_place() {
    let mut record = builds::built();
    for step in &mut record.steps {
        step.line.stage = "a\"]; <script>\\\n`#&x".to_owned();
    }
    let diagram = Diagram::of_build(&record, Detail::Stages);
    assert!(dot(&diagram).contains(r#"label="a\"]; <script>\\ `#&x\n"#), "{}", dot(&diagram));
    assert!(mermaid(&diagram).contains("\"a#34;]#59; #60;script#62;#92; #96;#35;#38;x<br>"), "{}", mermaid(&diagram));
    assert!(svg(&diagram).contains("a&quot;]; &lt;script&gt;\\ `#&amp;x"), "{}", svg(&diagram));
}

#[test]
fn the_story_is_a_picture_with_its_style() {
    let picture = svg(&of_file(STORY, None));
    assert!(picture.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg "), "{picture}");
    assert!(picture.contains("prefers-color-scheme: dark"));
    assert!(!picture.contains("http:") || picture.matches("http:").count() == 1, "only the name of the language");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever was built, pictures are made, and a name has no line of its own in them.
    #[test]
    fn every_record_is_drawn(record in hostile::record()) {
        for detail in [Detail::Stages, Detail::Steps] {
            let diagram = Diagram::of_build(&record, detail);
            prop_assert!(diagram.edges.iter().all(|edge| edge.from < edge.to && edge.to < diagram.nodes.len()));
            let lines = |text: &str| text.lines().count();
            prop_assert_eq!(lines(&dot(&diagram)), diagram.nodes.len() + diagram.edges.len() + 5);
            let critical = if diagram.nodes.iter().any(|node| node.is_critical) { 2 } else { 0 };
            prop_assert_eq!(lines(&mermaid(&diagram)), diagram.nodes.len() + diagram.edges.len() + 1 + critical);
            let picture = svg(&diagram);
            hostile::sound(picture.trim_start_matches("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"))?;
            prop_assert_eq!(&picture, &svg(&diagram));
        }
    }
}
