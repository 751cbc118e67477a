//! What a build shows while it runs and at its end, on real pipes and terminals; the screens themselves are tested beside
//! the display.

use rustix::process::{Pid, Signal, kill_process};
use stave_testkit::Bench;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::terminal::{on_terminal, resize, terminal};
use stave_testkit::wait::wait_until;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What a loud step writes: enough to fill every buffer many times over.
const LOUD_BYTES: u64 = 64 * 1024 * 1024;
/// Memory that a build may take, whatever its steps write. The rest of a build takes some of it.
const MEMORY_BYTES_MAX: u64 = 150 * 1024 * 1024;

/// How long a terminal is given to show what is waited for: far more than a busy machine takes.
const DRAWN_WITHIN: Duration = Duration::from_mins(2);

/// The logs of all steps of all builds.
fn logs(bench: &Bench) -> Vec<PathBuf> {
    let builds = fs::read_dir(bench.store().join("logs")).into_iter().flatten().flatten();
    let files = builds.filter_map(|build| fs::read_dir(build.path()).ok()).flatten().flatten();
    files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "log")).collect()
}

fn log_bytes(bench: &Bench) -> u64 {
    logs(bench).iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Returns the most memory that a process has had, in bytes. Nothing for one that has ended: it has no memory any more.
fn peak(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("the process is waited for later");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024)
}

fn loud(bench: &Bench) {
    let dockerfile = format!("FROM busybox\nRUN yes 0123456789abcdef | head -c {LOUD_BYTES}\nRUN echo after\n");
    bench.file("Dockerfile", dockerfile);
}

/// Demand 11: logs are never clipped, and memory is bounded. Standard error is a pipe or a terminal that nobody reads, as
/// after Ctrl-S.
#[test]
fn a_step_is_not_held_up_by_a_reader_that_has_stopped_and_memory_is_bounded() {
    let Some((bench, _registry)) = with_busybox() else { return };
    loud(&bench);
    for mode in ["plain", "rawjson", "tty"] {
        let before = log_bytes(&bench);
        let (ours, theirs) = terminal(60, 20);
        let mut command = bench.command(["build", "--no-cache", "--progress", mode, "."]);
        command.stdout(Stdio::null());
        if mode == "tty" {
            command.stderr(theirs)
        } else {
            command.stderr(Stdio::piped())
        };
        let mut child = command.spawn().expect("stave starts");
        drop(command);
        // The step after the loud one has written its line, and nobody has read anything.
        // Asked again and again: what is shown may fit into a pipe, and then the build ends without a reader.
        let mut memory = 0;
        wait_until(mode, || {
            memory = peak(&child).unwrap_or(memory);
            log_bytes(&bench) >= before + LOUD_BYTES + "after\n".len() as u64
        });
        assert!((1..MEMORY_BYTES_MAX).contains(&memory), "{mode} takes {memory} bytes");
        let mut text = Vec::new();
        match child.stderr.take() {
            Some(mut pipe) => pipe.read_to_end(&mut text).expect("readable"),
            None => std::io::copy(&mut { ours }, &mut text).map_or(0, |_| 0),
        };
        assert_eq!(child.wait().expect("waited for").code(), Some(0), "{mode}");
        let text = String::from_utf8_lossy(&text);
        match mode {
            "plain" => {
                let skipped = text.lines().find(|line| line.contains("of output not shown here")).expect("it is said");
                let log = skipped.rsplit(' ').next().expect("the log is named");
                assert_eq!(fs::metadata(log).expect("the log is there").len(), LOUD_BYTES);
            }
            "rawjson" => {
                let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
                let counted: u64 = events
                    .map(|event| match event["event"].as_str() {
                        Some("step-output") => event["text"].as_str().map_or(0, str::len) as u64,
                        Some("step-output-skipped") => event["bytes"].as_u64().expect("a number"),
                        _ => 0,
                    })
                    .sum();
                assert_eq!(counted, LOUD_BYTES + "after\n".len() as u64, "every byte is shown or counted");
            }
            _ => assert!(text.contains("[stage-0 3/3] RUN echo after"), "{text}"),
        }
    }
}

/// G004, G005, B032
#[test]
fn plain_lines_have_the_shape_that_people_look_for() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file(
        "Dockerfile",
        "FROM busybox AS one\nRUN echo hello\nFROM busybox\nCOPY --from=one /bin/sh /x\nRUN exit 3\n",
    );
    let output = bench.run(["build", "--progress=plain", "."]);
    let lines: Vec<&str> = output.exit(1).stderr.lines().collect();
    let is = |begin: &str, end: &str| {
        lines.iter().any(|line| line.starts_with('#') && line.contains(begin) && line.ends_with(end))
    };
    assert!(is(" [one 2/2] RUN echo hello", ""), "{lines:#?}");
    assert!(is(" 0.", " hello"), "{lines:#?}");
    assert!(is(" DONE 0.", "s"), "{lines:#?}");
    assert!(is(" ERROR: exit status 3 after 0.", "s"), "{lines:#?}");
    bench.file("Dockerfile", "FROM busybox AS one\nRUN echo hello\n");
    let output = bench.run(["build", "--progress=plain", "."]);
    let text = &output.success().stderr;
    let number = text.lines().find_map(|line| line.strip_suffix(" [one 2/2] RUN echo hello")).expect("the step");
    assert!(text.contains(&format!("{number} CACHED\n")), "{text}");
}

/// A base that has to be fetched is a step that runs and ends; one that is here already is known.
#[test]
fn a_base_is_a_step_that_ends() {
    let Some((bench, _registry)) = with_busybox() else { return };
    for (command, ends) in [("true", "DONE "), ("echo other", "CACHED")] {
        bench.file("Dockerfile", format!("FROM busybox\nRUN {command}\n"));
        let text = bench.run(["build", "--progress=plain", "."]).success().stderr.clone();
        let number = text.lines().find_map(|line| line.strip_suffix(" [stage-0 1/2] FROM busybox")).expect(&text);
        let ended = text.lines().any(|line| line.starts_with(&format!("{number} {ends}")));
        assert!(ended, "{text}");
        let explained = String::from_utf8_lossy(&bench.run(["explain"]).success().stdout).into_owned();
        assert!(!explained.contains("not run"), "{explained}");
    }
}

#[test]
fn the_end_says_what_was_made_and_what_the_cache_saved() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox AS one\nRUN sleep 0.3 && echo x > /x\nFROM busybox\nCOPY --from=one /x /\n");
    let first = bench.run(["build", "."]).success().stderr.clone();
    let line = |text: &str, begin: &str| text.lines().find(|line| line.contains(begin)).map(str::to_owned);
    let steps = line(&first, " steps in ").expect(&first);
    assert!(steps.contains(" ran, ") && !steps.contains("saved"), "{first}");
    let path = line(&first, "critical path ").expect(&first);
    assert!(path.contains("[one 2/2] RUN sleep 0.3"), "{first}");
    let size = line(&first, "size ").expect(&first);
    assert!(size.contains(": base ") && size.contains(", stage-1 "), "{first}");
    let again = bench.run(["build", "."]).success().stderr.clone();
    let steps = line(&again, " steps in ").expect(&again);
    assert!(steps.contains(": 0 ran, ") && steps.contains(" cached, which saved 0."), "{again}");
    assert_eq!(line(&again, "critical path "), None, "nothing ran: {again}");
}

/// A terminal is as it was after Ctrl-C: the cursor is visible, at the begin of a line, and lines go on as they did.
#[test]
fn after_ctrl_c_the_terminal_is_as_it_was() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN echo begun; while :; do sleep 0.05; done\n");
    let (mut ours, theirs) = terminal(60, 20);
    let mut command = bench.command(["build", "--progress=tty", "."]);
    let mut child = command.stdout(Stdio::null()).stderr(theirs).spawn().expect("stave starts");
    drop(command);
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    let mut is_resized = false;
    let mut is_asked = false;
    // The end of a terminal is an error.
    while let Ok(count @ 1..) = ours.read(&mut piece) {
        text.extend_from_slice(&piece[..count]);
        let shown = String::from_utf8_lossy(&text);
        if !is_resized && shown.contains("  | begun") {
            is_resized = true;
            resize(&ours, 40, 10);
        }
        // What is drawn after the change has the new width.
        if is_resized && !is_asked && shown.contains("\u{1b}[10;1H") {
            is_asked = true;
            kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
        }
    }
    assert_eq!(child.wait().expect("waited for").code(), Some(130));
    let text = String::from_utf8_lossy(&text);
    assert!(is_asked, "{text:?}");
    for (on, off) in [("\u{1b}[?25h", "\u{1b}[?25l"), ("\u{1b}[?7h", "\u{1b}[?7l"), ("\u{1b}[?2026l", "\u{1b}[?2026h")]
    {
        assert_eq!(text.matches(on).count(), text.matches(off).count(), "{text:?}");
        assert!(text.rfind(on) > text.rfind(off), "{text:?}");
    }
    assert!(text.contains("CANCELED [stage-0 2/2] RUN") && text.ends_with('\n'), "{text:?}");
}

/// A window that is made smaller, narrower than a title, and larger again while a step runs: within a few frames, what is
/// drawn has the new width and height, and nothing of the old drawing is left.
#[test]
fn a_build_is_drawn_anew_when_its_window_changes() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN echo begun; while :; do sleep 0.05; done # the end of the title\n");
    let (mut ours, theirs) = terminal(80, 24);
    let mut command = bench.command(["build", "--progress=tty", "."]);
    let mut child = command.stdout(Stdio::null()).stderr(theirs).spawn().expect("stave starts");
    drop(command);
    // A drawing that never comes is a mistake, and no wait without an end.
    let (ended, end) = mpsc::channel::<()>();
    let process = Pid::from_child(&child);
    let guard = thread::spawn(move || {
        if end.recv_timeout(DRAWN_WITHIN) == Err(mpsc::RecvTimeoutError::Timeout) {
            kill_process(process, Signal::INT).expect("it runs: nobody has waited for it");
        }
    });
    let size = |number| std::num::NonZero::new(number).expect("not 0");
    // Without what went up out of sight, which would come back when the window grows.
    let mut screen = vt100::Parser::new(size(24), size(80), 0);
    let mut sizes = [(24, 8), (12, 4), (100, 30)].into_iter();
    let (mut columns, mut rows) = (80, 24);
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    // The end of a terminal is an error. What is read may end in the middle of a frame.
    while let Ok(count @ 1..) = ours.read(&mut piece) {
        screen.process(&piece[..count]);
        let shown: Vec<String> = screen.screen().rows(0, columns).map(|row| row.trim_end().to_owned()).collect();
        if seen.len() < 4 && is_drawn_for(&shown, columns, rows) {
            seen.push((columns, rows));
            match sizes.next() {
                Some(next) => {
                    (columns, rows) = next;
                    screen.screen_mut().set_size(size(rows), size(columns));
                    resize(&ours, columns, rows);
                }
                None => kill_process(Pid::from_child(&child), Signal::INT).expect("it runs"),
            }
        }
    }
    drop(ended);
    guard.join().expect("no panic");
    assert_eq!(child.wait().expect("waited for").code(), Some(130));
    assert_eq!(seen, [(80, 24), (24, 8), (12, 4), (100, 30)], "{}", screen.screen().contents());
}

/// Whether a screen has one drawing, as wide as it can be: its first line, below that the running step's, and what that
/// wrote, where there is room for it. Above it there is what has ended.
fn is_drawn_for(shown: &[String], columns: u16, rows: u16) -> bool {
    let mut drawings = shown.iter().enumerate().filter(|(_, row)| row.starts_with("bu"));
    let (Some((top, _)), None) = (drawings.next(), drawings.next()) else { return false };
    let of = |begin: &str| shown[top..].iter().filter(|row| row.starts_with(begin)).collect::<Vec<_>>();
    let steps = of(" => [");
    let is_whole = |row: &str| columns < 100 || row.contains("# the end of the title");
    // The time stands in the last columns.
    let fills = |row: &str| row.chars().count() > usize::from(columns) - 4 && is_whole(row);
    matches!(steps[..], [row] if fills(row)) && (rows < 8 || of("  | begun").len() == 1)
}

/// G001
#[test]
fn a_terminal_that_cannot_be_drawn_on_gets_lines() {
    let bench = Bench::new();
    let mut bench = bench;
    bench.file("Dockerfile", "FROM scratch\nCOPY a /a\n").file("a", "1");
    bench.set("TERM", "dumb");
    for args in [&["build", "."][..], &["build", "--progress=tty", "."]] {
        let (status, text) = on_terminal(bench.command(args), 60, 20);
        assert!(
            status.success() && text.contains("#1 [stage-0 1/1] COPY a /a") && !text.contains('\u{1b}'),
            "{text:?}"
        );
    }
}

#[test]
fn colours_are_for_who_wants_them() {
    let mut bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPPY a /\n");
    let colours = |bench: &Bench| bench.run(["build", "."]).exit(2).stderr.contains("\u{1b}[");
    assert!(!colours(&bench), "there is no terminal");
    bench.set("CLICOLOR_FORCE", "1");
    assert!(colours(&bench), "they are forced");
    bench.set("NO_COLOR", "1");
    assert!(!colours(&bench), "NO_COLOR is stronger");
    bench.set("NO_COLOR", "").set("CLICOLOR_FORCE", "0").set("CLICOLOR", "0");
    let (_, text) = on_terminal(bench.command(["build", "."]), 60, 20);
    assert!(!text.contains("\u{1b}["), "{text:?}");
}

/// Three stages, of which two run at the same time, on real terminals of two sizes: what is on the screen meanwhile and at the
/// end.
#[test]
fn a_build_of_three_stages_is_drawn_while_it_runs_and_leaves_what_it_was() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let text = "\
FROM busybox AS build
RUN echo prepared
RUN for part in one two three; do echo \"building $part\"; sleep 0.4; done; echo app > /app
FROM busybox AS assets
RUN printf '\\033[2J\\033[Hpacking 日本語\\n'; sleep 1.2; echo site > /site
FROM busybox
COPY --from=build /app /
COPY --from=assets /site /
";
    bench.file("Dockerfile", text);
    bench.run(["build", "--target", "assets", "."]).success();
    bench.file("Dockerfile", text.replace("echo site", "echo new site"));
    for (columns, rows) in [(80, 24), (40, 12)] {
        let (mut ours, theirs) = terminal(columns, rows);
        let mut command = bench.command(["build", "--no-cache-filter=build,assets", "."]);
        let mut child = command.stdout(Stdio::null()).stderr(theirs).spawn().expect("stave starts");
        drop(command);
        let size = |number| std::num::NonZero::new(number).expect("not 0");
        let mut screen = vt100::Parser::new(size(rows), size(columns), 100);
        let running = [
            "building: ",
            " => [build 3/3] RUN for",
            " => [assets 2/2] RUN",
            "\n  | building two\n",
            "\n  | packing 日本語\n",
        ];
        let has = |contents: &str| running.iter().filter(|words| contents.contains(**words)).count();
        let mut fullest = String::new();
        let mut piece = [0; 4096];
        // The end of a terminal is an error. What is read may end in the middle of a frame.
        while let Ok(count @ 1..) = ours.read(&mut piece) {
            screen.process(&piece[..count]);
            let contents = screen.screen().contents();
            if has(&contents) > has(&fullest) {
                fullest = contents;
            }
        }
        assert_eq!(child.wait().expect("waited for").code(), Some(0));
        let end = screen.screen().contents();
        assert_eq!(has(&fullest), running.len(), "while it runs:\n{fullest}");
        for words in [" => [build 3/3] RUN for", " steps in ", "size ", "image sha256:"] {
            assert!(end.contains(words), "{words:?} at the end:\n{end}");
        }
        // The second time, the last stage is known: its inputs have the same content.
        assert!(end.contains("critical path ") || columns == 40, "{end}");
        assert_eq!(end.contains(" => CACHED 2 steps"), columns == 40, "{end}");
        assert!(!end.contains("building: ") && !end.contains("\n  | "), "{end}");
        assert!(!screen.screen().hide_cursor());
        if std::env::var_os("SHOW").is_some() {
            eprintln!("{fullest}\n----\n{end}\n====");
        }
    }
}

/// What was asked of a registry and could not be had is not done, in any of the ways in which a build is told.
#[test]
fn a_task_that_failed_says_so_wherever_it_is_told() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM absent:1\nRUN true\n");
    let plain = bench.run(["build", "--progress=plain", "."]).stderr;
    let lines: Vec<&str> = plain.lines().filter(|line| line.starts_with("#1 ")).collect();
    assert_eq!(lines.len(), 2, "{plain}");
    assert!(lines[0].starts_with("#1 resolve ") && lines[1].starts_with("#1 ERROR: "), "{plain}");
    let told = bench.run(["build", "--progress=rawjson", "."]).stderr;
    let ended = told.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let ended: Vec<_> = ended.filter(|event| event["event"] == "task-finished").collect();
    assert_eq!(ended.len(), 1, "{told}");
    assert_eq!(ended[0]["state"], "failed", "{told}");
    let why = ended[0]["message"].as_str().expect("a message");
    assert_eq!(lines[1], format!("#1 ERROR: {why}"));
    let shown = String::from_utf8_lossy(&bench.run(["builds", "show"]).success().stdout).into_owned();
    let rows: Vec<&str> = shown.lines().skip_while(|line| !line.starts_with("STATE")).collect();
    assert!(
        rows.len() == 3 && rows[1].starts_with("failed ") && rows[2].contains(&format!("because {why}")),
        "{shown}"
    );
}
