//! Records of builds.

use std::collections::BTreeMap;
use std::time::Duration;

use stave_anatomy::{Anatomy, Builder, Entry, Layer, What};
use stave_dockerfile::Span;
use stave_history::Record;
use stave_history::event::{
    BuiltImage, Ending, Event, FileChange, LayerLine, Miss, Origin, Remarks, RequestFacts, StepId, StepLine, StepName,
    TaskEnding, TaskId, TaskKind,
};
use stave_report::{ImageLayers, LogExcerpt};

/// The Dockerfile of the story, with a word that a check finds.
pub(crate) const STORY: &str = "\
FROM golang:1.7.3 as builder
WORKDIR /go/src/href-counter/
RUN go get -d -v golang.org/x/net/html
COPY app.go .
RUN go build -o app .

FROM alpine:latest
RUN apk add ca-certificates
COPY --from=builder /go/src/href-counter/app .
CMD [\"./app\"]
";

/// The bytes of `STORY` that are `words`.
pub(crate) fn span(words: &str) -> Span {
    let start = STORY.find(words).expect("words of the story");
    Span::new(start, start + words.len())
}

fn line(step: u32, stage: &str, (number, of): (u32, u32), title: &str, inputs: &[u32]) -> StepLine {
    StepLine { span: span(title), ..plain(step, stage, (number, of), title, inputs) }
}

fn steps() -> Vec<StepLine> {
    vec![
        line(0, "builder", (1, 5), "FROM golang:1.7.3 as builder", &[]),
        line(1, "builder", (2, 5), "WORKDIR /go/src/href-counter/", &[0]),
        line(2, "builder", (3, 5), "RUN go get -d -v golang.org/x/net/html", &[1]),
        line(3, "builder", (4, 5), "COPY app.go .", &[2]),
        line(4, "builder", (5, 5), "RUN go build -o app .", &[3]),
        line(5, "stage-1", (1, 3), "FROM alpine:latest", &[]),
        line(6, "stage-1", (2, 3), "RUN apk add ca-certificates", &[5]),
        line(7, "stage-1", (3, 3), "COPY --from=builder /go/src/href-counter/app .", &[6, 4]),
    ]
}

fn cached(step: u32, saved: u64) -> Event {
    let saved = Some(Duration::from_millis(saved));
    Event::StepCached { step: StepId(step), saved, origin: Origin::Local, result: "aa".to_owned() }
}

fn ran(step: u32, from: u64, to: u64) -> [(u64, Event); 2] {
    let took = Duration::from_millis(to - from);
    let result = "bb".to_owned();
    [(from, Event::StepStarted { step: StepId(step) }), (to, Event::StepFinished { step: StepId(step), took, result })]
}

fn missed(step: u32, miss: Miss) -> (u64, Event) {
    (20, Event::StepMissed { step: StepId(step), miss })
}

/// The story's build after `app.go` was changed: everything but its last events.
fn begun() -> Vec<(u64, Event)> {
    let request = RequestFacts {
        version: "0.1.0".to_owned(),
        context: ".".to_owned(),
        platforms: vec!["linux/amd64".to_owned()],
        build_args: vec![("VERSION".to_owned(), Some("1".to_owned())), ("TOKEN".to_owned(), None)],
        ..RequestFacts::default()
    };
    let begun = Event::Begun {
        build: "3f2a5b6c7d8e9f01".to_owned(),
        directory: "builds/3f2a5b6c7d8e9f01".into(),
        name: "Dockerfile".to_owned(),
        text: STORY.to_owned(),
        request,
    };
    let remark = stave_dockerfile::Diagnostic::warning(
        "FromAsCasing",
        span("as"),
        "'as' and 'FROM' keywords' casing do not match",
    );
    let findings = Remarks { name: "Dockerfile".to_owned(), text: STORY.to_owned(), diagnostics: vec![remark] };
    let changed = Miss::File { context: None, path: "app.go".to_owned(), change: FileChange::Content };
    let copy =
        StepName { platform: None, stage: "builder".to_owned(), number: 4, of: 5, title: "COPY app.go .".to_owned() };
    let below = |miss: &Miss| Miss::Parent { step: copy.clone(), miss: Box::new(miss.clone()) };
    let mut events = vec![
        (0, begun),
        (1, Event::Findings(findings)),
        (2, Event::TaskStarted { task: TaskId(1), kind: TaskKind::Resolve, title: "resolve alpine:latest".to_owned() }),
        (12, Event::TaskFinished { task: TaskId(1), took: Duration::from_millis(10), ending: TaskEnding::Done }),
        (15, Event::Planned { steps: steps() }),
        missed(3, changed.clone()),
        missed(4, below(&changed)),
        missed(6, Miss::First),
        missed(7, below(&changed)),
    ];
    events.extend([(20, cached(0, 0)), (20, cached(1, 10)), (20, cached(2, 31_200)), (20, cached(5, 0))]);
    events.extend(ran(3, 30, 80));
    events.extend(ran(6, 30, 1_230));
    events
}

fn record(events: &[(u64, Event)]) -> Record {
    let mut record = Record::default();
    for (millis, event) in events {
        record.take(Duration::from_millis(*millis), event);
    }
    record
}

/// The story's build after `app.go` was changed.
pub(crate) fn built() -> Record {
    let layer = |step: Option<u32>, bytes| LayerLine {
        step: step.map(StepId),
        of_base: step.is_none(),
        bytes,
        diff_id: format!("sha256:{bytes:064x}"),
    };
    let layers = vec![layer(None, 5_000_000), layer(Some(6), 1_500_000), layer(Some(7), 12_000_000)];
    let image = format!("sha256:{:064x}", 7);
    let images = vec![BuiltImage { platform: "linux/amd64".to_owned(), image, layers }];
    let names = vec!["docker.io/me/href-counter:latest".to_owned()];
    let ending = Ending::Built { images, index: None, names, size: 18_500_000, ran: 4, cached: 4 };
    let mut events = begun();
    events.extend(ran(4, 80, 4_080));
    events.extend(ran(7, 4_085, 4_100));
    events.push((4_200, Event::Ended { ending }));
    record(&events)
}

/// The same, where the program cannot be compiled.
pub(crate) fn failed() -> Record {
    let mut events = begun();
    let message = "exit status 2".to_owned();
    let (step, took) = (StepId(4), Duration::from_millis(900));
    events.push((80, Event::StepStarted { step }));
    events.push((980, Event::StepFailed { step, took, message: Some(message.clone()) }));
    events.push((990, Event::Ended { ending: Ending::Failed { step: Some(step), message } }));
    record(&events)
}

/// What two of its steps wrote.
pub(crate) fn logs() -> BTreeMap<StepId, LogExcerpt> {
    let whole = |text: &str| LogExcerpt { head: text.as_bytes().to_vec(), ..LogExcerpt::default() };
    let long = LogExcerpt {
        head: b"# href-counter\n".to_vec(),
        left_out: 12_345_678,
        tail: b"</script><b>\x1b[31mred\x1b[0m\n".to_vec(),
    };
    BTreeMap::from([(StepId(6), whole("fetch\n(1/1) Installing ca-certificates\n")), (StepId(4), long)])
}

/// A build of three steps and their bases, of which the last wrote what could be taken for a part of the page.
pub(crate) fn three() -> (Record, BTreeMap<StepId, LogExcerpt>) {
    let text = "# syntax=docker/dockerfile:1\nFROM alpine AS build\nWORKDIR /src\nRUN make all \\\n    && make install\n\nFROM scratch\nCOPY --from=build /out /\n";
    let at = |words: &str| {
        let start = text.find(words).expect("words of the file");
        Span::new(start, start + words.len())
    };
    let step = |step: u32, stage: &str, (number, of): (u32, u32), (title, span): (&str, Span), inputs: &[u32]| {
        StepLine { span, ..plain(step, stage, (number, of), title, inputs) }
    };
    let steps = vec![
        step(0, "build", (1, 3), ("FROM alpine AS build", at("FROM alpine AS build")), &[]),
        step(1, "build", (2, 3), ("WORKDIR /src", at("WORKDIR /src")), &[0]),
        step(2, "build", (3, 3), ("RUN make all && make install", at("RUN make all \\\n    && make install")), &[1]),
        step(3, "stage-1", (1, 1), ("COPY --from=build /out /", at("COPY --from=build /out /")), &[2]),
    ];
    let mut events = begun_with("Dockerfile", text);
    events.push((10, Event::Planned { steps }));
    let remark = stave_dockerfile::Diagnostic::warning("WorkdirRelativePath", at("/src"), "a remark that is shown")
        .hint("Do it.");
    events.push((10, Event::Findings(Remarks { name: String::new(), text: String::new(), diagnostics: vec![remark] })));
    events.extend([missed(1, Miss::First), missed(2, Miss::First), missed(3, Miss::First), (20, cached(0, 0))]);
    events.extend(ran(1, 20, 40));
    events.extend(ran(2, 40, 2_040));
    events.extend(ran(3, 2_045, 2_100));
    let layer =
        |step: u32, bytes| LayerLine { step: Some(StepId(step)), of_base: false, bytes, diff_id: format!("{bytes}") };
    let (platform, image) = ("linux/amd64".to_owned(), format!("sha256:{:064x}", 3));
    let images = vec![BuiltImage { platform, image, layers: vec![layer(3, 4_200_000)] }];
    let names = vec!["docker.io/library/three:latest".to_owned()];
    let ending = Ending::Built { images, index: None, names, size: 4_200_000, ran: 3, cached: 0 };
    events.push((2_150, Event::Ended { ending }));
    let written =
        "make: entering /src\n</script><b id=\"injected\">bold</b> & \u{1b}[32mgreen\u{1b}[0m\n10%\r100%\ndone\n";
    let log = LogExcerpt { head: written.as_bytes().to_vec(), ..LogExcerpt::default() };
    (record(&events), BTreeMap::from([(StepId(2), log)]))
}

/// A build with a stage that goes on from another one, and one that copies onto nothing.
pub(crate) fn stage_of_a_stage() -> Record {
    let steps = vec![
        plain(0, "base", (1, 2), "FROM alpine AS base", &[]),
        plain(1, "base", (2, 2), "RUN a", &[0]),
        plain(2, "app", (1, 2), "RUN b", &[1]),
        plain(3, "app", (2, 2), "COPY --from=base /x /", &[2, 1]),
        plain(4, "more", (1, 1), "COPY --from=app /x /", &[1, 3]),
        plain(5, "stage-3", (1, 1), "copy --from=app /x /", &[3]),
        plain(6, "linked", (1, 2), "FROM alpine AS linked", &[]),
        plain(7, "linked", (2, 2), "COPY --link --from=app /x /", &[3]),
    ];
    let mut events = begun_with("Dockerfile", "FROM alpine AS base\n");
    events.push((10, Event::Planned { steps }));
    record(&events)
}

fn plain(step: u32, stage: &str, (number, of): (u32, u32), title: &str, inputs: &[u32]) -> StepLine {
    StepLine {
        step: StepId(step),
        platform: None,
        stage: stage.to_owned(),
        number,
        of,
        title: title.to_owned(),
        span: Span::new(0, 0),
        inputs: inputs.iter().copied().map(StepId).collect(),
        bases: Vec::new(),
    }
}

fn begun_with(name: &str, text: &str) -> Vec<(u64, Event)> {
    let request = RequestFacts { version: "0.1.0".to_owned(), context: ".".to_owned(), ..RequestFacts::default() };
    let begun = Event::Begun {
        build: "00aa11bb22cc33dd".to_owned(),
        directory: "builds/x".into(),
        name: name.to_owned(),
        text: text.to_owned(),
        request,
    };
    vec![(0, begun)]
}

/// A build of two thousand steps, as the engine tells of it (equal bases are one result, of the first stage that has it): a hundred stages of twenty, of which every fifth was known, and four run at a time. One of
/// their logs has a needle.
pub(crate) fn two_thousand() -> (Record, BTreeMap<StepId, LogExcerpt>) {
    const STAGES: u32 = 100;
    const STEPS: u32 = 20;
    let (mut text, mut steps, mut logs) = (String::new(), Vec::new(), BTreeMap::new());
    let mut events = Vec::new();
    for stage in 0..STAGES {
        for number in 0..STEPS {
            let step = stage * STEPS + number;
            let title = match number {
                0 => format!("FROM alpine AS part-{stage}"),
                1 if stage > 0 => format!("COPY --from=part-{} /out /in", (stage - 1) / 2),
                _ => format!("RUN ./compile --unit {stage}.{number} --optimise --output /out/{number}.o"),
            };
            let mut inputs = match number {
                0 => Vec::new(),
                1 => vec![0],
                _ => vec![step - 1],
            };
            if number == 1 && stage > 0 {
                inputs.push((stage - 1) / 2 * STEPS + STEPS - 1);
            }
            let start = text.len();
            text += &title;
            let mut line = plain(step, &format!("part-{stage}"), (number + 1, STEPS), &title, &inputs);
            line.span = Span::new(start, text.len());
            text.push('\n');
            steps.push(line);
            if number == 0 || stage % 5 == 4 {
                events.push((30, cached(step, u64::from(number) * 400)));
                continue;
            }
            let begin = 50 + u64::from(stage / 4 * STEPS + number) * 400;
            let took = 40 + u64::from(step * 7919 % 360);
            events.push(missed(step, Miss::First));
            events.extend(ran(step, begin, begin + took));
            let words = if step == 1234 { "here is the needle-in-one-log\n" } else { "" };
            let log = format!("compiling unit {stage}.{number}\n{words}{}", "warning: something <is> odd\n".repeat(6));
            logs.insert(StepId(step), LogExcerpt { head: log.into_bytes(), ..LogExcerpt::default() });
        }
    }
    let mut all = begun_with("Dockerfile", &text);
    all.push((20, Event::Planned { steps }));
    all.extend(events);
    let layers = (1..STEPS)
        .map(|number| LayerLine {
            step: Some(StepId((STAGES - 1) * STEPS + number)),
            of_base: false,
            bytes: u64::from(number) * 100_000,
            diff_id: number.to_string(),
        })
        .collect();
    let images = vec![BuiltImage { platform: "linux/amd64".to_owned(), image: "sha256:00".to_owned(), layers }];
    let ending = Ending::Built { images, index: None, names: Vec::new(), size: 19_000_000, ran: 1520, cached: 480 };
    all.push((210_000, Event::Ended { ending }));
    (record(&all), logs)
}

/// What the failed step wrote.
pub(crate) fn failed_logs() -> BTreeMap<StepId, LogExcerpt> {
    let written = b"# href-counter\n./app.go:12:9: undefined: no such thing\n".to_vec();
    BTreeMap::from([(StepId(4), LogExcerpt { head: written, ..LogExcerpt::default() })])
}

/// The layers of an image that [`built`] made, with a file that is deleted again and one that is replaced.
pub(crate) fn layers() -> Vec<ImageLayers> {
    let mut builder = Builder::new();
    let mut layer = |record: &Record, place: usize, entries: &[(&str, What<'_>, u64)]| {
        let Some(Ending::Built { images, .. }) = &record.ending else { panic!("it was built") };
        let line = &images[0].layers[place];
        builder.layer(Layer { diff_id: line.diff_id.clone(), bytes: line.bytes, created_by: None, made: None });
        for (path, what, bytes) in entries {
            builder.entry(&Entry { path: path.as_bytes(), what: *what, bytes: *bytes }).expect("not too many");
        }
    };
    let (directory, record) = (What::Directory { hides: None }, built());
    let file = |bytes: u64| What::File { content: bytes - 512 };
    layer(
        &record,
        0,
        &[
            ("etc", directory, 512),
            ("etc/motd", file(4_096), 4_096),
            ("usr", directory, 512),
            ("usr/lib", directory, 512),
            ("usr/lib/libc.so", file(4_990_000), 4_990_000),
        ],
    );
    layer(
        &record,
        1,
        &[
            ("var", directory, 512),
            ("var/cache", directory, 512),
            ("var/cache/index", file(1_400_000), 1_400_000),
            ("etc", directory, 512),
            ("etc/motd", file(8_192), 8_192),
        ],
    );
    layer(
        &record,
        2,
        &[("app", file(12_000_000), 12_000_000), ("var", directory, 512), ("var/cache/index", What::Whiteout, 512)],
    );
    let mut anatomy: Anatomy = builder.finish();
    let steps: Vec<StepLine> = record.steps.iter().map(|step| step.line.clone()).collect();
    let Some(Ending::Built { images, .. }) = &record.ending else { panic!("it was built") };
    anatomy.made_by(&images[0], &steps);
    vec![ImageLayers { platform: "linux/amd64".to_owned(), anatomy: Ok(anatomy) }]
}
