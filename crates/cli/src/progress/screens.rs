//! Tests: what a person sees, on a virtual terminal.

use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use stave_dockerfile::Span;
use stave_engine::{Event, Origin, StepId, StepLine, Stream, TaskId, TaskKind};
use stave_history::event::{BuiltImage, Ending, LayerLine, RequestFacts, TaskEnding};

use super::Screen as _;
use super::frame::Size;
use super::picture;
use super::settings::Settings;
use super::settings::tests::{coloured, settings};
use super::tty::Tty;

fn some(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("not 0")
}

/// The display on a virtual terminal.
struct Seen {
    tty: Tty,
    size: Arc<Mutex<Size>>,
    terminal: vt100::Parser,
}

impl Seen {
    fn new(columns: u16, rows: u16, settings: Settings) -> Self {
        let size = Arc::new(Mutex::new(Size { columns: columns.into(), rows: rows.into() }));
        let asked = Arc::clone(&size);
        let tty = Tty::new(settings, Box::new(move || *asked.lock().expect("no panic")));
        Self { tty, size, terminal: vt100::Parser::new(some(rows), some(columns), 1000) }
    }

    fn event(&mut self, millis: u64, event: &Event) {
        self.tty.event(Duration::from_millis(millis), event, &mut Vec::new());
    }

    fn draw(&mut self, millis: u64) {
        let mut out = Vec::new();
        self.tty.draw(Duration::from_millis(millis), &mut out);
        self.terminal.process(&out);
        self.is_in_order();
    }

    fn finish(&mut self) {
        let mut out = Vec::new();
        self.tty.finish(&mut out);
        self.terminal.process(&out);
        self.is_in_order();
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        *self.size.lock().expect("no panic") = Size { columns: columns.into(), rows: rows.into() };
        self.terminal.screen_mut().set_size(some(rows), some(columns));
    }

    /// Between two frames the cursor is visible and at the begin of a line that has nothing.
    fn is_in_order(&self) {
        let screen = self.terminal.screen();
        assert!(!screen.hide_cursor());
        let (row, column) = screen.cursor_position();
        assert_eq!(column, 0, "{}", screen.contents());
        let (_, columns) = screen.size();
        let line = screen.rows(0, columns.get()).nth(row.into()).unwrap_or_default();
        assert_eq!(line, "", "{}", screen.contents());
    }

    /// The rows with a frame around them.
    fn text(&self) -> String {
        let (_, columns) = self.terminal.screen().size();
        let rows = self.terminal.screen().rows(0, columns.get()).map(|row| {
            let width = super::text::columns(&row);
            format!("|{row}{}|", " ".repeat(usize::from(columns.get()).saturating_sub(width)))
        });
        rows.collect::<Vec<_>>().join("\n")
    }
}

fn line(step: u32, stage: &str, number: u32, of: u32, title: &str, inputs: &[u32]) -> StepLine {
    StepLine {
        step: StepId(step),
        platform: None,
        stage: stage.to_owned(),
        number,
        of,
        title: title.to_owned(),
        span: Span::default(),
        inputs: inputs.iter().copied().map(StepId).collect(),
        bases: Vec::new(),
    }
}

fn output(step: u32, text: &str) -> Event {
    Event::StepOutput { step: StepId(step), stream: Stream::Stdout, bytes: text.as_bytes().to_vec() }
}

fn finished(step: u32, millis: u64) -> Event {
    Event::StepFinished { step: StepId(step), took: Duration::from_millis(millis), result: String::new() }
}

fn begun() -> Event {
    Event::Begun {
        build: "b1".to_owned(),
        directory: "builds/b1".into(),
        name: "Dockerfile".to_owned(),
        text: String::new(),
        request: RequestFacts::default(),
    }
}

/// A build of three stages: two steps of the first are known, the base of the second is pulled.
fn three_stages() -> Vec<(u64, Event)> {
    let cached = |step, millis| Event::StepCached {
        step: StepId(step),
        saved: Some(Duration::from_millis(millis)),
        origin: Origin::Local,
        result: String::new(),
    };
    let started = |step| Event::StepStarted { step: StepId(step) };
    let (pull, title) = (TaskId(1), "fetch 4abcf2066143".to_owned());
    vec![
        (0, begun()),
        (
            10,
            Event::Planned {
                steps: vec![
                    line(0, "build", 1, 4, "WORKDIR /src", &[]),
                    line(1, "build", 2, 4, "COPY go.mod go.sum ./", &[0]),
                    line(2, "build", 3, 4, "RUN go mod download", &[1]),
                    line(3, "build", 4, 4, "RUN go build -o /out/app ./cmd/app", &[2]),
                    line(4, "assets", 1, 2, "COPY web /web", &[]),
                    line(5, "assets", 2, 2, "RUN npm ci && npm run build", &[4]),
                    line(6, "stage-2", 1, 2, "COPY --from=build /out/app /app", &[3]),
                    line(7, "stage-2", 2, 2, "COPY --from=assets /web/dist /web", &[5, 6]),
                ],
            },
        ),
        (20, cached(0, 10)),
        (20, cached(1, 40)),
        (20, cached(2, 31_200)),
        (30, Event::TaskStarted { task: pull, kind: TaskKind::Fetch, title }),
        (40, started(3)),
        (50, started(4)),
        (150, finished(4, 100)),
        (1500, Event::TaskProgress { task: pull, done: 18_000_000, total: Some(48_000_000) }),
        (2000, output(3, "go: building with 2 threads\n")),
        (2500, Event::TaskProgress { task: pull, done: 30_000_000, total: Some(48_000_000) }),
        (3000, output(3, "internal/server\ninternal/日本語/päck\u{61}\u{308}ge\n")),
        (3200, Event::TaskProgress { task: pull, done: 48_000_000, total: Some(48_000_000) }),
        (3300, Event::TaskFinished { task: pull, took: Duration::from_millis(3270), ending: TaskEnding::Done }),
        (3310, started(5)),
        (4000, output(5, "\u{1b}[32madded 712 packages\u{1b}[0m in 600ms\n\u{1b}[2J\u{1b}[Hvite v5 building\r\n")),
        (4500, output(5, "transforming (3) index.html\rtransforming (88) src/main.ts")),
        (9000, finished(5, 5690)),
        (9040, finished(3, 9000)),
        (9050, started(6)),
        (9060, finished(6, 10)),
        (9070, started(7)),
        (9080, finished(7, 10)),
        (9100, Event::Ended { ending: built() }),
    ]
}

fn built() -> Ending {
    let layer = |step: Option<u32>, bytes| LayerLine {
        step: step.map(StepId),
        of_base: step.is_none(),
        bytes,
        diff_id: String::new(),
    };
    let layers = vec![layer(None, 7_800_000), layer(Some(6), 14_200_000), layer(Some(7), 1_100_000)];
    let images = vec![BuiltImage { platform: "linux/amd64".to_owned(), image: "sha256:aa".to_owned(), layers }];
    Ending::Built { images, index: None, names: Vec::new(), size: 23_100_000, ran: 5, cached: 3 }
}

/// Shows the events up to a time, with a frame after each.
fn until(seen: &mut Seen, events: &[(u64, Event)], end: u64) {
    for (at, event) in events.iter().filter(|(at, _)| *at <= end) {
        seen.event(*at, event);
        seen.draw(*at);
    }
    seen.draw(end);
}

fn at(columns: u16, rows: u16, end: u64) -> Seen {
    let mut seen = Seen::new(columns, rows, settings(&[]));
    until(&mut seen, &three_stages(), end);
    seen
}

/// Compares a screen with the file that keeps it; `BLESS=1` writes the file.
fn check(name: &str, seen: &Seen) {
    check_file(&format!("src/progress/screens/{name}.txt"), &(seen.text() + "\n"));
}

fn check_file(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("it can be made");
        std::fs::write(&path, text).expect("it can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, kept, "{}: `BLESS=1` writes it", path.display());
}

#[test]
fn what_runs_is_shown_with_its_output_its_time_and_its_rate() {
    check("running-80x24", &at(80, 24, 2600));
    check("output-80x24", &at(80, 24, 5000));
}

#[test]
fn narrow_and_short_terminals_show_what_there_is_room_for() {
    check("output-40x12", &at(40, 12, 5000));
    check("output-20x3", &at(20, 3, 5000));
    check("output-30x6", &at(30, 6, 2600));
}

#[test]
fn the_end_says_what_was_made_and_what_took_time() {
    let mut seen = at(80, 24, 9100);
    seen.finish();
    check("end-80x24", &seen);
    let mut seen = at(40, 12, 9100);
    seen.finish();
    check("end-40x12", &seen);
}

#[test]
fn a_terminal_that_becomes_another_shows_the_same_at_once() {
    let mut seen = at(80, 24, 5000);
    seen.resize(50, 16);
    seen.draw(5100);
    check("resized-50x16", &seen);
    seen.resize(100, 10);
    seen.draw(5200);
    check("resized-100x10", &seen);
    seen.resize(20, 3);
    seen.draw(5300);
    check("resized-20x3", &seen);
    seen.resize(80, 24);
    for (at, event) in three_stages().iter().filter(|(at, _)| *at > 5300) {
        seen.event(*at, event);
        seen.draw(*at);
    }
    seen.finish();
    let text = seen.text();
    assert!(text.contains("size 23.1MB: base 7.8MB, stage-2 15.3MB"), "{text}");
    assert_eq!(text.matches("building:").count(), text.matches("building: 4 of 8").count(), "{text}");
}

/// After 30 seconds without a word, the screen says who is silent and what waits for whom.
#[test]
fn after_long_silence_each_waiting_step_says_what_it_waits_for() {
    let mut seen = at(80, 24, 5000);
    seen.draw(33_900);
    assert!(!seen.text().contains("waits for"), "{}", seen.text());
    seen.draw(36_000);
    check("silent-80x24", &seen);
}

#[test]
fn a_failure_and_what_was_stopped_are_told_apart_without_colours() {
    let mut seen = at(60, 12, 5000);
    let took = Duration::from_secs(2);
    let message = Some("exit status 2".to_owned());
    seen.event(5100, &Event::StepFailed { step: StepId(5), took, message });
    seen.event(5100, &Event::StepFailed { step: StepId(3), took, message: None });
    seen.finish();
    check("failed-60x12", &seen);
}

#[test]
fn a_step_that_writes_faster_than_it_can_be_shown_says_where_all_of_it_is() {
    let mut seen = at(80, 12, 2600);
    seen.event(2650, &Event::StepOutputSkipped { step: StepId(3), bytes: 812_000_000 });
    seen.event(2650, &output(3, "the last line\n"));
    seen.draw(2700);
    check("skipped-80x12", &seen);
}

#[test]
fn a_pull_has_the_same_screen_without_a_build() {
    let mut seen = Seen::new(60, 6, settings(&[]));
    let (task, title) = (TaskId(1), "fetch 4abcf2066143".to_owned());
    seen.event(0, &Event::TaskStarted { task, kind: TaskKind::Fetch, title });
    seen.event(500, &Event::TaskProgress { task, done: 5_000_000, total: Some(20_000_000) });
    seen.draw(1000);
    check("pull-60x6", &seen);
    seen.event(1500, &Event::TaskFinished { task, took: Duration::from_millis(1500), ending: TaskEnding::Done });
    seen.finish();
    check("pulled-60x6", &seen);
}

#[test]
fn a_task_that_failed_says_so_however_short_it_was() {
    let mut seen = Seen::new(60, 8, settings(&[]));
    let message = "`docker.io` cannot be reached: no such host".to_owned();
    let ends = [TaskEnding::Failed { message }, TaskEnding::Cancelled, TaskEnding::Cancelled];
    for (number, (millis, ending)) in [20, 700, 20].into_iter().zip(ends).enumerate() {
        let task = TaskId(u32::try_from(number).expect("there are three"));
        seen.event(0, &Event::TaskStarted { task, kind: TaskKind::Resolve, title: format!("resolve a:{number}") });
        seen.event(millis, &Event::TaskFinished { task, took: Duration::from_millis(millis), ending });
    }
    seen.finish();
    check("task-failed-60x8", &seen);
}

#[test]
fn a_frame_that_shows_the_same_writes_nothing() {
    let mut seen = at(80, 24, 5000);
    let mut out = Vec::new();
    seen.tty.draw(Duration::from_secs(5), &mut out);
    assert_eq!(out, b"");
}

#[test]
fn of_many_steps_as_many_are_drawn_as_there_are_rows() {
    for (columns, rows) in [(20, 3), (20, 4), (80, 10), (200, 60), (1, 1), (2, 2)] {
        let mut seen = Seen::new(columns, rows, settings(&[("BUILDKIT_TTY_LOG_LINES", "40")]));
        seen.event(0, &begun());
        for number in 0..30 {
            seen.event(0, &Event::StepStarted { step: StepId(number) });
            seen.event(0, &output(number, &"x\n".repeat(50)));
        }
        let mut out = Vec::new();
        seen.tty.draw(Duration::from_secs(1), &mut out);
        let lines = String::from_utf8_lossy(&out).matches('\n').count();
        assert!(lines <= usize::from(rows - 1).max(1), "{lines} lines on {rows} rows");
    }
}

/// The pictures of the book are made from what the terminal shows, so they are true.
#[test]
fn the_books_pictures_are_what_is_shown() {
    let mut seen = Seen::new(80, 15, coloured(&[]));
    until(&mut seen, &three_stages(), 5000);
    check_file("../../docs/images/progress-running.svg", &picture::svg(seen.terminal.screen(), "A build that runs"));
    let mut seen = Seen::new(80, 13, coloured(&[]));
    until(&mut seen, &three_stages(), 9100);
    seen.finish();
    check_file("../../docs/images/progress-end.svg", &picture::svg(seen.terminal.screen(), "The end of a build"));
}

/// Text with all that can move a cursor, in pieces.
fn anything() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "\\PC{0,30}".prop_map(String::into_bytes),
        "[a日\u{301}\u{200d}👩\u{fe0f}ﷺ\u{202e}\t \r\n\u{8}]{0,60}".prop_map(String::into_bytes),
        "(\u{1b}\\[[0-9;?]{0,4}[A-Za-z@`]|\u{1b}[\\]PX^_].{0,5}|\u{1b}[A-Zc78=>]|x|\n|\r){0,20}"
            .prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever a step writes, and whatever the terminal's size: the lines around its own are what they are without it, and
    /// the cursor ends where it should, visible.
    #[test]
    fn nothing_that_a_step_writes_leaves_its_lines(
        pieces in anything(), columns in 20_u16..100, rows in 3_u16..30, other in 20_u16..100
    ) {
        let steps = vec![line(0, "a", 1, 2, "RUN one", &[]), line(1, "b", 1, 1, "RUN two", &[])];
        let show = |pieces: &[Vec<u8>]| {
            let mut seen = Seen::new(columns, rows, settings(&[("BUILDKIT_TTY_LOG_LINES", "3")]));
            seen.event(0, &begun());
            seen.event(0, &Event::Planned { steps: steps.clone() });
            seen.event(0, &Event::Notice { message: "a line above".to_owned() });
            for step in [0, 1] {
                seen.event(0, &Event::StepStarted { step: StepId(step) });
            }
            for (number, piece) in pieces.iter().enumerate() {
                let bytes = piece.clone();
                seen.event(1, &Event::StepOutput { step: StepId(0), stream: Stream::Stdout, bytes });
                seen.draw(100 * number as u64);
            }
            seen.draw(1000);
            let frame = seen.text();
            seen.resize(other, rows);
            seen.draw(1000);
            seen.finish();
            (frame, seen.text())
        };
        let own = |text: &str| text.lines().filter(|line| line.starts_with("|  | ")).count();
        let others = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with("|  | ")).map(|line| line.trim_end_matches('|').trim_end().to_owned())
                .filter(|line| line != "|" && !line.is_empty()).collect()
        };
        let ((frame, ended), (plain, plain_ended)) = (show(&pieces), show(&[]));
        prop_assert!(own(&frame) <= 4, "{}", frame);
        // On fewer rows, what is above moves out of sight.
        if rows >= 12 {
            prop_assert_eq!(others(&frame), others(&plain));
            prop_assert_eq!(others(&ended), others(&plain_ended));
        }
    }
}
