//! The history: every build with its steps, times, causes and full logs, within limits.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use stave_testkit::Bench;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::terminal::terminal;
use stave_testkit::wait::wait_until;

const DOCKERFILE: &str = "FROM busybox AS tool\nARG FLAVOUR=plain\nRUN echo making; echo $FLAVOUR > /tool\n\
                          FROM busybox\nCOPY --from=tool /tool /tool\nRUN cat /tool; printf 'no end'\n";

/// What `builds ls` says of each build, the latest first.
fn listed(bench: &Bench, more: &[&str]) -> Vec<Value> {
    let out = bench.run([&["builds", "ls", "--no-trunc", "--format", "json"], more].concat()).success().out();
    out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn shown(bench: &Bench, build: &str) -> Value {
    serde_json::from_str(&bench.run(["builds", "show", "--format", "json", build]).success().out()).expect("JSON")
}

/// Returns what a command writes to a terminal.
fn on_terminal(mut command: Command) -> String {
    let (mut ours, theirs) = terminal(80, 24);
    let mut child = command.stdout(theirs).spawn().expect("stave starts");
    // Holds the last descriptor of the other end, without which reading does not end.
    drop(command);
    let mut bytes = Vec::new();
    // The end of a terminal is an error.
    ours.read_to_end(&mut bytes).ok();
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn every_build_is_listed_with_what_became_of_its_steps() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", DOCKERFILE);
    bench.run(["builds", "ls"]).success();
    bench.run(["builds", "show"]).exit(1).complains("the history has no build");
    bench.run(["build", "-q", "-t", "me/app:1", "."]).success();
    bench.run(["build", "-q", "-t", "me/app:1", "-t", "other", "--build-arg", "FLAVOUR=sweet", "."]).success();
    bench.file("broken", "FROM busybox\nRUN exit 7\nRUN echo never\n");
    bench.run(["build", "-q", "-f", "broken", "."]).exit(1);
    let image = bench.run(["build", "-q", "--target", "tool", "."]).success().line();
    let rows = listed(&bench, &[]);
    let said: Vec<[&str; 4]> = rows
        .iter()
        .map(|row| ["Name", "Status", "Steps", "Reason"].map(|field| row[field].as_str().expect("a text")))
        .collect();
    assert_eq!(
        said,
        [
            ["work/Dockerfile (tool)", "done", "1 cached", ""],
            ["work/broken", "failed", "1 failed, 1 not run", "[stage-0 2/3] RUN exit 7: exit status 7"],
            ["me/app:1", "done", "3 ran", ""],
            ["me/app:1", "done", "3 ran", ""],
        ]
    );
    assert_eq!(rows[0]["Image"], image);
    assert_eq!(rows[2]["Names"], serde_json::json!(["me/app:1", "other:latest"]));
    assert_eq!((&rows[1]["Ran"], &rows[1]["Cached"], &rows[1]["Total"]), (&0.into(), &0.into(), &2.into()));
    let table = bench.run(["builds", "ls"]).success().out();
    let heads: Vec<&str> = table.lines().next().expect("a head").split("  ").filter(|word| !word.is_empty()).collect();
    assert_eq!(
        heads.iter().map(|head| head.trim()).collect::<Vec<_>>(),
        ["BUILD ID", "NAME", "STATUS", "CREATED", "DURATION", "STEPS", "IMAGE"]
    );
    assert!(table.contains(&rows[3]["ID"].as_str().expect("an id")[..12]), "{table}");
}

#[test]
fn builds_are_filtered_as_other_lists_are() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", DOCKERFILE).file("broken", "FROM busybox\nRUN exit 7\n");
    bench.run(["build", "-q", "-t", "me/app:1", "."]).success();
    bench.run(["build", "-q", "-f", "broken", "."]).exit(1);
    bench.run(["build", "-q", "--target", "tool", "."]).success();
    let names = |filters: &[&str]| -> Vec<String> {
        let options: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", *filter]).collect();
        listed(&bench, &options).iter().map(|row| row["Name"].as_str().expect("a name").to_owned()).collect()
    };
    let (app, broken, tool) = ("me/app:1", "work/broken", "work/Dockerfile (tool)");
    assert_eq!(names(&[]), [tool, broken, app]);
    assert_eq!(names(&["status=failed"]), [broken]);
    assert_eq!(names(&["status=error"]), [broken], "docker's word");
    assert_eq!(names(&["status=failed", "status=done"]), [tool, broken, app]);
    assert_eq!(names(&["status!=failed"]), [tool, app]);
    assert_eq!(names(&["name=me/app"]), [app]);
    assert_eq!(names(&["name~=^docker.io/"]), [app]);
    assert_eq!(names(&["target=tool", "status=done"]), [tool]);
    assert_eq!(names(&["file=broken"]), [broken]);
    assert_eq!(names(&["since=1h"]), [tool, broken, app]);
    assert_eq!(names(&["until=1h"]), [""; 0]);
    let id = bench.run(["builds", "ls", "-q", "-n", "1", "--filter", "status=failed"]).success().line();
    assert_eq!(names(&[&format!("id={id}")]), [broken]);
    bench.run(["builds", "ls", "--filter", "nonsense=1"]).exit(2).complains("there is no filter `nonsense`");
    bench.run(["builds", "ls", "--filter", "status=bogus"]).exit(2).complains("`bogus` is no status of a build");
    bench.run(["builds", "ls", "--filter", "since=x"]).exit(2).complains("no time");
}

#[test]
fn a_build_is_shown_with_its_request_its_steps_their_causes_and_where_their_logs_are() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", DOCKERFILE.replace("AS tool", "as tool"));
    bench.run(["build", "-q", "-t", "me/app", "."]).success();
    let options = ["--build-arg", "FLAVOUR=sweet", "--build-arg", "API_TOKEN=hush"];
    bench.run([&["build", "-q", "-t", "me/app"], &options[..], &["."]].concat()).success();
    let text = bench.run(["builds", "show"]).success().out();
    for part in [
        "Status         done\n",
        "Names          docker.io/me/app:latest\n",
        "Arguments      API_TOKEN (not kept: its name is that of a secret), FLAVOUR=sweet\n",
        "Steps          3 ran\n",
        "[tool 2/2] RUN echo making; echo $FLAVOUR > /tool\n",
        "because ARG FLAVOUR is `sweet`, and was `plain`\n",
        "warning[FromAsCasing]",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    assert!(!text.contains("hush"), "{text}");
    assert!(text.contains(&format!("Context        {}\n", bench.work().display())), "{text}");
    let document = shown(&bench, "^0");
    assert_eq!((&document["schema"], &document["state"]), (&1.into(), &"done".into()));
    let steps = document["steps"].as_array().expect("a list");
    let states: Vec<&str> = steps.iter().map(|step| step["state"].as_str().expect("a word")).collect();
    assert_eq!(states, ["cached", "done", "cached", "done", "done"]);
    assert_eq!((&steps[1]["miss"]["code"], &steps[1]["line"]), (&"arg".into(), &3.into()));
    assert_eq!(steps[1]["log"]["bytes"], "making\n".len());
    let log = steps[1]["log"]["path"].as_str().expect("a path");
    assert_eq!(fs::read_to_string(log).expect("it is there"), "making\n");
    assert_eq!(document["findings"][0]["code"], "FromAsCasing");
    assert_eq!(document["findings"][0]["line"], 1);
    let file = bench.run(["builds", "show", "--file", "^1"]).success().out();
    assert_eq!(file, DOCKERFILE.replace("AS tool", "as tool"));
    let titles = bench.run(["builds", "show", "--format", "{{range .steps}}{{.number}}{{end}}"]).success().line();
    assert_eq!(titles, "12123");
}

#[test]
fn a_failed_build_says_which_step_why_and_how_to_look_at_it() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN echo before; exit 7\n");
    bench.run(["build", "-q", "."]).exit(1);
    let id = bench.run(["builds", "ls", "-q", "--no-trunc"]).success().line();
    let text = bench.run(["builds", "show"]).success().out();
    assert!(text.contains("failed: [stage-0 2/2] RUN echo before; exit 7: exit status 7\n"), "{text}");
    assert!(text.contains(&format!("Failed state   kept: `stave debug {id}` opens it\n")), "{text}");
    assert_eq!(shown(&bench, &id)["ending"]["state"], "failed");
    bench.file("Dockerfile", "FROM busybox\nRUNN x\n");
    bench.run(["build", "-q", "."]).exit(2);
    let text = bench.run(["builds", "show"]).success().out();
    assert!(text.contains("Status         failed: unknown instruction `RUNN`\n"), "{text}");
}

#[test]
fn logs_are_byte_for_byte_what_the_steps_wrote() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", DOCKERFILE.replace("echo making", "printf 'a\\033[31m\\377\\r\\nb\\n'"));
    bench.run(["build", "-q", "."]).success();
    let raw = b"a\x1b[31m\xff\r\nb\n";
    let bytes = |args: &[&str]| bench.run([&["builds", "logs"], args].concat()).success().stdout.clone();
    for step in ["2", "tool/2", ":3", "TOOL", "flavour >  /tool"] {
        assert_eq!(bytes(&["^0", step]), raw, "{step}");
    }
    assert_eq!(bytes(&["^0", "cat"]), b"plain\nno end");
    let mut all = b"==> 2 [tool 2/2] RUN printf 'a\\033[31m\\377\\r\\nb\\n'; echo $FLAVOUR > /tool\n".to_vec();
    all.extend_from_slice(raw);
    all.extend_from_slice(b"\n==> 5 [stage-1 3/3] RUN cat /tool; printf 'no end'\nplain\nno end");
    assert_eq!(bytes(&[]), all);
    assert_eq!(bytes(&["--tail", "1", "^0", "2"]), b"b\n");
    assert_eq!(bytes(&["--tail", "0", "^0", "2"]), b"");
    bench.run(["builds", "logs", "^0", "9"]).exit(1).complains("has no step `9`").complains("stave builds show");
    bench.run(["builds", "logs", "zz"]).exit(1).complains("the history has no build `zz`");
    // Who names only the step is told how.
    let output = bench.run(["builds", "logs", "99999"]);
    assert_eq!(
        output.exit(1).stderr,
        "error: the history has no build `99999`\nhint: A step is named behind its build: `stave builds logs ^0 99999` is one of \
         the latest.\n"
    );
    bench.run(["builds", "logs", "^0", "4"]).success().complains("wrote nothing");
    // Of what was known, the build is named that made it.
    let made = bench.run(["builds", "ls", "-q", "--no-trunc"]).success().line();
    bench.run(["build", "-q", "."]).success();
    let output = bench.run(["builds", "logs", "^0", "2"]);
    output.success().complains(&format!("it did in build {made}, `stave builds logs {made} 2`"));
}

#[test]
fn a_terminal_gets_no_control_sequence_of_a_log_unless_it_is_asked_for() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench
        .file("Dockerfile", "FROM busybox\nRUN printf '10%%\\r100%%\\n\\033[31mred\\033]0;title\\007\\n\\302\\233x'\n");
    bench.run(["build", "-q", "."]).success();
    let text = on_terminal(bench.command(["builds", "logs"]));
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(lines, ["100%", "red", "x"]);
    let text = on_terminal(bench.command(["builds", "logs", "--raw"]));
    assert!(text.contains("\x1b[31mred\x1b]0;title\x07"), "{text:?}");
}

#[test]
fn a_running_build_is_followed_to_its_end_and_never_removed() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("mount", "FROM busybox\nRUN --mount=type=cache,target=/c touch /c/go\n");
    let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c echo first; \
                      while [ ! -e /c/go ]; do sleep 0.05; done; echo second\n";
    bench.file("Dockerfile", dockerfile);
    let build = bench.spawn(["build", "-q", "."]);
    let first = || String::from_utf8_lossy(&bench.run(["builds", "logs", "^0", "2"]).stdout).contains("first");
    wait_until("the step", first);
    let row = &listed(&bench, &[])[0];
    assert_eq!((&row["Status"], &row["Steps"]), (&"running".into(), &"1 running".into()));
    // By its id: the next build may be the latest before the command looks.
    let id = bench.run(["builds", "ls", "-q", "--no-trunc"]).success().out();
    bench.run(["builds", "rm", "^0"]).exit(1).complains("is running");
    assert_eq!(bench.run(["builds", "rm", "--all"]).success().out(), "");
    let mut command = bench.command(["builds", "logs", "--follow", id.trim(), "2"]);
    let reader = command.stdout(Stdio::piped()).spawn().expect("stave starts");
    bench.run(["build", "-q", "-f", "mount", "."]).success();
    bench.wait(build).success();
    let followed = reader.wait_with_output().expect("it ends");
    assert_eq!((followed.status.code(), followed.stdout.as_slice()), (Some(0), &b"first\nsecond\n"[..]));
}

#[test]
fn a_killed_build_was_interrupted_and_who_follows_it_sees_its_end() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN echo first; sleep 1000\n");
    let mut build = bench.spawn(["build", "-q", "."]);
    let first = || String::from_utf8_lossy(&bench.run(["builds", "logs", "^0", "2"]).stdout).contains("first");
    wait_until("the step", first);
    let mut command = bench.command(["builds", "logs", "-f"]);
    let reader = command.stdout(Stdio::piped()).spawn().expect("stave starts");
    build.kill().expect("it is killed");
    build.wait().expect("it ends");
    let followed = reader.wait_with_output().expect("it ends");
    assert_eq!(followed.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&followed.stdout).ends_with("first\n"));
    let row = &listed(&bench, &[])[0];
    assert_eq!((&row["Status"], &row["Steps"]), (&"interrupted".into(), &"1 cancelled".into()));
    assert!(bench.run(["builds", "show"]).success().out().contains("interrupted"));
}

#[test]
fn what_is_removed_is_gone_with_its_logs_and_its_failed_state() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", DOCKERFILE).file("broken", "FROM busybox\nRUN echo x > /left; exit 7\n");
    bench.run(["build", "-q", "."]).success();
    bench.run(["build", "-q", "-f", "broken", "."]).exit(1);
    let ids = bench.run(["builds", "ls", "-q", "--no-trunc"]).success().out();
    let ids: Vec<&str> = ids.lines().collect();
    let nothing = bench.run(["builds", "rm"]);
    assert_eq!(
        nothing.exit(2).stderr,
        "error: no build is named that is to be forgotten\nhint: Name them as `stave builds ls` does, `^0` for the latest, or \
         give `--all` for all that have ended.\n"
    );
    let output = bench.run(["builds", "rm", "^0", "zz"]);
    output.exit(1).complains("the history has no build `zz`");
    assert_eq!(output.out().trim(), ids[0]);
    assert!(!bench.store().join("logs").join(ids[0]).exists());
    bench.run(["debug", ids[0], "--", "true"]).exit(1).complains("the history has no build");
    assert!(!bench.run(["store", "usage", "--by", "record"]).success().out().contains("failed state"));
    assert_eq!(bench.run(["builds", "rm", "--all"]).success().out().trim(), ids[1]);
    assert_eq!(bench.run(["builds", "ls", "-q"]).success().out(), "");
    bench.run(["store", "check"]).success();
}

#[test]
fn the_history_keeps_the_limit_that_it_is_given_also_of_builds_that_run_nothing() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", DOCKERFILE);
    bench.run(["builds", "limit", "--count", "3", "--size", "1m"]).success();
    assert!(bench.run(["builds", "limit"]).success().out().lines().any(|line| line == "3         1.05MB"));
    for _ in 0..5 {
        bench.run(["build", "-q", "."]).success();
    }
    assert_eq!(listed(&bench, &[]).len(), 3);
    bench.file("Dockerfile", "FROM busybox\nRUN head -c 2000000 /dev/zero\n");
    bench.run(["build", "-q", "."]).success();
    assert_eq!(listed(&bench, &[]).len(), 1, "the latest stays, whatever it wrote");
    bench.file("Dockerfile", DOCKERFILE);
    bench.run(["build", "-q", "."]).success();
    assert_eq!(listed(&bench, &[]).len(), 1);
    let usage = bench.run(["store", "usage", "--format", "{{.Kind}} {{.Count}} {{.Bytes}}"]).success().out();
    let builds = usage.lines().find_map(|line| line.strip_prefix("builds ")).expect("it is counted");
    let (count, bytes) = builds.split_once(' ').expect("two numbers");
    assert_eq!(count, "1");
    assert!((1..1 << 20).contains(&bytes.parse::<u64>().expect("a number")), "{bytes}");
    bench.run(["build", "-q", "."]).success();
    bench.run(["builds", "limit", "--count", "1"]).success();
    assert_eq!(listed(&bench, &[]).len(), 1, "it holds at once");
}

#[test]
fn a_name_that_means_several_builds_lists_them() {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    // Of so many, two begin alike.
    for _ in 0..17 {
        bench.run(["build", "-q", "."]).success();
    }
    let ids: Vec<String> =
        listed(&bench, &[]).iter().map(|row| row["ID"].as_str().expect("an id").to_owned()).collect();
    let alike = |id: &str| ids.iter().filter(|other| other[..1] == id[..1]).cloned().collect::<Vec<_>>();
    let several = ids.iter().map(|id| alike(id)).find(|alike| alike.len() > 1).expect("two begin alike");
    for command in [&["explain"][..], &["builds", "show"], &["builds", "logs"], &["debug"], &["builds", "rm"]] {
        let output = bench.run([command, &[&several[0][..1]]].concat());
        output.exit(1).complains(&format!("is the beginning of {} build ids: {}", several.len(), several.join(", ")));
    }
}

#[test]
fn docker_buildx_history_is_the_same() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", DOCKERFILE);
    bench.run(["build", "-q", "."]).success();
    let same = |theirs: &[&str], ours: &[&str]| {
        let theirs = bench.run([&["buildx", "history"], theirs].concat()).success().out();
        assert_eq!(theirs, bench.run([&["builds"], ours].concat()).success().out());
        assert!(!theirs.is_empty());
    };
    same(&["ls", "--no-trunc", "--format", "{{.ID}}"], &["ls", "--no-trunc", "--format", "{{.ID}}"]);
    same(&["inspect", "^0", "--format", "json"], &["show", "^0", "--format", "json"]);
    same(&["logs", "^0"], &["logs"]);
    same(&["trace", "^0"], &["trace"]);
    let id = bench.run(["builds", "ls", "-q", "--no-trunc"]).success().line();
    assert_eq!(bench.run(["buildx", "history", "rm", &id]).success().line(), id);
    bench.run(["buildx", "history", "open"]).exit(2);
}

/// Demand 11: full logs, in bounded memory.
#[test]
fn a_long_log_is_shown_whole_in_little_memory() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let bytes = 64 * 1024 * 1024_u64;
    bench.file("Dockerfile", format!("FROM busybox\nRUN yes 0123456789abcdef | head -c {bytes}\n"));
    bench.run(["build", "-q", "."]).success();
    let mut command = bench.command(["builds", "logs", "^0", "2"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("stave starts");
    let mut pipe = child.stdout.take().expect("it was asked for");
    let mut head = [0; 4096];
    pipe.read_exact(&mut head).expect("it is shown");
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("the process is there");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel says it");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 64 * 1024, "it takes {peak} KiB");
    let rest = std::io::copy(&mut pipe, &mut std::io::sink()).expect("it is shown");
    assert_eq!(head.len() as u64 + rest, bytes);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    // A reader that has seen enough ends it without a word.
    let mut command = bench.command(["builds", "logs", "^0", "2"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("stave starts");
    let mut child = child;
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Bases are shown and counted nowhere; whoever counts comes to the same.
#[test]
fn steps_are_counted_in_one_way() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let dockerfile = "FROM busybox AS a\nRUN echo a > /a\nFROM busybox AS b\nRUN echo b > /b\nFROM busybox\n\
                      COPY --from=a /a /\nCOPY --from=b /b /\nRUN cat /a /b\n";
    bench.file("Dockerfile", dockerfile);
    let counts = |ran: u64, cached: u64| {
        let told = bench.run(["build", "--progress=rawjson", "."]).success().stderr.clone();
        let last: serde_json::Value =
            told.lines().last().and_then(|line| serde_json::from_str(line).ok()).expect("JSON");
        assert_eq!((&last["ran"], &last["cached"]), (&ran.into(), &cached.into()), "rawjson: {told}");
        let total = ran + cached;
        let format = "{{.Ran}} {{.Cached}} {{.Total}}";
        let listed = bench.run(["builds", "ls", "-n", "1", "--format", format]).success().out();
        assert_eq!(listed.trim(), format!("{ran} {cached} {total}"), "builds ls");
        let explained = bench.run(["explain", "--format", "json"]).success().out();
        let explained: serde_json::Value = serde_json::from_str(&explained).expect("JSON");
        let parts = [&explained["ran"], &explained["known"], &explained["total"]].map(serde_json::Value::as_u64);
        assert_eq!(parts, [Some(ran), Some(cached), Some(total)], "explain as JSON");
        let explained = bench.run(["explain"]).success().out();
        assert!(explained.contains(&format!("\n{cached} of {total} steps known\n")), "explain: {explained}");
        let page = bench.run(["report", "-o", "-"]).success().out();
        let text = page.replace("<strong>", "").replace("</strong>", "");
        let known = if cached == 0 { "none was known".to_owned() } else { format!("{cached} were known") };
        assert!(text.contains(&format!(": {ran} of {total} steps ran, and {known}")), "report");
    };
    counts(5, 0);
    counts(0, 5);
    bench.file("Dockerfile", dockerfile.replace("cat /a /b", "cat /b"));
    counts(1, 4);
    let plain = bench.run(["build", "--progress=plain", "--no-cache", "."]).success().stderr.clone();
    assert!(plain.contains("\n5 steps in ") && plain.contains(": 5 ran, 0 cached"), "{plain}");
}

/// Of a build that runs, its time so far; of one whose process was killed, until it or one of its steps last said something.
#[test]
fn the_time_of_a_build_that_runs_or_was_killed_is_not_that_of_its_last_event() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN while true; do echo on; sleep 0.2; done\n");
    let mut child = bench.command(["build", "-q", "."]).spawn().expect("stave starts");
    let listed =
        |format: &str| bench.run(["builds", "ls", "-n", "1", "--format", format]).success().out().trim().to_owned();
    let seconds = |text: &str| text.parse::<f64>().unwrap_or(0.0);
    wait_until("a build of three seconds", || seconds(&listed("{{.Seconds}}")) >= 3.0);
    assert_eq!(listed("{{.Status}}: {{.Steps}}"), "running: 1 running");
    let shown = bench.run(["builds", "show"]).success().out();
    let running = shown.lines().filter(|line| line.starts_with("Took ") || line.contains(" running "));
    assert!(running.clone().count() >= 2 && running.clone().all(|line| !line.contains(" 0.0s")), "{shown}");
    let page = bench.run(["report", "-o", "-"]).success().out();
    assert!(page.contains("was still running when this page was made") && page.contains("It has taken "), "{page}");
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    assert_eq!(listed("{{.Status}}: {{.Steps}}"), "interrupted: 1 cancelled");
    let took = seconds(&listed("{{.Seconds}}"));
    assert!(took >= 1.0, "{took} s");
}
