//! The page.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use stave_history::Record;
use stave_history::event::StepId;
use stave_report::{ImageLayers, LogExcerpt, PAGE_BYTES_MAX, Page};

use crate::{builds, hostile};

fn page(record: &Record, logs: &BTreeMap<StepId, LogExcerpt>) -> String {
    with_layers(record, logs, &[])
}

fn with_layers(record: &Record, logs: &BTreeMap<StepId, LogExcerpt>, layers: &[ImageLayers]) -> String {
    Page { record, started: "2026-11-30 13:00:00", logs, layers }.html()
}

/// The words of a page, without its marks, blanks joined.
fn words(html: &str) -> String {
    let body = html.split_once("<body>").expect("a body").1.split_once("<script>").expect("a script").0;
    let mut words = String::new();
    for (at, part) in body.split('<').enumerate() {
        let (tag, text) = if at == 0 { ("", part) } else { part.split_once('>').expect("an end of a tag") };
        if !matches!(
            tag.split(' ').next(),
            Some("code" | "/code" | "strong" | "/strong" | "a" | "/a" | "mark" | "/mark")
        ) {
            words.push(' ');
        }
        words.push_str(text);
    }
    let words = words.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn says(html: &str, sentences: &[&str]) {
    let words = words(html);
    for sentence in sentences {
        assert!(words.contains(sentence), "`{sentence}` is not in:\n{words}");
    }
}

#[test]
fn a_built_page_says_first_what_was_built_how_long_it_took_and_what_cost_it() {
    let html = page(&builds::built(), &builds::logs());
    says(
        &html,
        &[
            "Built me/href-counter:latest",
            "The image for linux/amd64 has 18.5 MB in 3 layers, made from Dockerfile.",
            "It took 4.20 s: 4 of 6 steps ran, and 2 were known, which saved 31.2 s.",
            "with 4.00 s, and most bytes come from the stage stage-1 with 13.5 MB.",
            "Together they took 4.07 s, 97 % of the time of the build: with these steps it could not have been faster.",
            "VERSION=1",
            "TOKEN (not shown: its name is that of a secret)",
        ],
    );
}

#[test]
fn each_step_says_why_it_ran_what_it_reads_and_what_it_wrote() {
    let html = page(&builds::built(), &builds::logs());
    says(
        &html,
        &[
            "Ran because `app.go` has other content. file-content",
            "Ran because [builder 4/5] COPY app.go . changed: `app.go` has other content. file-content See",
            "Known from an earlier build; it took 31.2 s when it ran.",
            "12.3 MB are left out here: stave builds logs 3f2a5b6c7d8e9f01 5",
            "</script><b>red",
            "image golang:1.7.3",
        ],
    );
    assert!(html.contains("&lt;/script&gt;&lt;b&gt;red"), "escaped");
}

#[test]
fn findings_stand_at_their_words() {
    let html = page(&builds::built(), &builds::logs());
    assert!(html.contains("FROM golang:1.7.3 <mark class=\"warning\">as</mark> builder"), "underlined");
    says(
        &html,
        &["1 remark on Dockerfile: line 1 FromAsCasing", "Warning FromAsCasing: 'as' and 'FROM' keywords' casing"],
    );
}

#[test]
fn layers_say_what_they_add_from_where_and_what_is_shipped_for_nothing() {
    let html = with_layers(&builds::built(), &builds::logs(), &builds::layers());
    says(
        &html,
        &[
            "1.41 MB are shipped for nothing: a later layer deletes or replaces them. See the layers.",
            "3 layers with 18.4 MB.",
            "the stage builder 12.0 MB",
            "the base image alpine:latest 5.00 MB",
            "/var/cache/index 1.40 MB layer 2 deleted by layer 3: [stage-1 3/3] COPY --from=builder",
            "/etc/motd 4.10 kB layer 1 replaced by layer 2: [stage-1 2/3] RUN apk add ca-certificates",
            "libc.so 4.99 MB layer 1",
            "Layer 2: 1.41 MB from commands of the stage itself",
        ],
    );
    hostile::sound(&html).expect("sound");
}

#[test]
fn a_page_says_why_nothing_is_known_of_layers() {
    let gone = ImageLayers { platform: "linux/amd64".to_owned(), anatomy: Err("its layers are gone".to_owned()) };
    let html = with_layers(&builds::built(), &BTreeMap::new(), &[gone]);
    says(&html, &["Nothing can be said of the files of this image: its layers are gone."]);
}

#[test]
fn a_failed_page_leads_to_the_step() {
    let html = page(&builds::failed(), &builds::logs());
    says(&html, &["Failed Dockerfile", "failed: exit status 2 in [builder 5/5]", "2 did not or did not end"]);
    assert!(html.contains("data-state=\"failed\""));
    assert_eq!(html.matches("<details open>").count(), 1, "only what failed is opened");
}

#[test]
fn a_build_that_never_ended_and_an_empty_one_are_pages() {
    says(
        &page(&Record::default(), &BTreeMap::new()),
        &["Running a build", "was still running when this page was made"],
    );
}

#[test]
fn a_page_asks_for_nothing() {
    let html = page(&builds::built(), &builds::logs());
    assert!(html.contains("content=\"default-src 'none'; style-src 'sha256-"), "a policy");
    for forbidden in ["src=\"", "url(", "@import", "<img", "<iframe", "<object", " style=\"", "srcset"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn no_build_makes_a_page_that_is_too_large() {
    let mut record = builds::built();
    let step = record.steps[4].clone();
    record.text = "RUN <&>\n".repeat(60_000);
    record.steps = (0..12_000)
        .map(|place| {
            let mut step = step.clone();
            step.line.step = StepId(place);
            step.line.number = place;
            step.line.title = "<&>\"".repeat(100);
            step.started = Some(Duration::from_millis(u64::from(place % 100)));
            step
        })
        .collect();
    let log = LogExcerpt { head: vec![b'<'; 200], left_out: 5, tail: vec![b'"'; 200] };
    let logs = (0..12_000).map(|step| (StepId(step), log.clone())).collect();
    let html = page(&record, &logs);
    assert!(html.len() < PAGE_BYTES_MAX, "{}", html.len());
    says(&html, &["steps more would make this page too large. stave builds show 3f2a5b6c7d8e9f01 has all."]);
    hostile::sound(&html).expect("sound");
}

proptest! {
    // One is a whole page.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a build is called, wrote or was: its page is sound, and the same each time.
    #[test]
    fn every_record_is_a_sound_page(record in hostile::record(), logs in hostile::logs(), layers in hostile::layers()) {
        let html = with_layers(&record, &logs, &layers);
        hostile::sound(&html)?;
        prop_assert_eq!(&html, &with_layers(&record, &logs, &layers));
    }
}
