//! The options of `build`: the page that lists them is walked over, so that what it says is so.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry, needs};

/// A row of one of the page's tables: the options in its first cell, and all its cells.
struct Row {
    options: Vec<String>,
    cells: Vec<String>,
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/build-options.md");
    fs::read_to_string(path).expect("the page is there")
}

/// The rows below a heading.
fn rows(page: &str, heading: &str) -> Vec<Row> {
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).expect("the page has the section");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<String> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        Row { options: quoted(&cells[0]), cells }
    };
    rows.map(row).collect()
}

/// The words between backquotes.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A bench whose directory is a Git repository with one commit, or `None` if this machine has no `git`.
fn repository() -> Option<Bench> {
    let bench = Bench::new();
    bench.file("sub/Dockerfile", "FROM scratch\nCOPY a /\n").file("sub/a", "a");
    let origin = "https://user:password@example.com/x.git";
    for args in [
        &["init", "-q"][..],
        &["add", "."],
        &["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "one"],
        &["remote", "add", "origin", origin],
    ] {
        let mut git = bench.other(Path::new("git"));
        if !git.args(args).status().is_ok_and(|status| status.success()) {
            return None;
        }
    }
    Some(bench)
}

fn small() -> Bench {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", "a");
    bench
}

/// Rows of sections B.1 and B.2 of the list of features, all of which the page must name.
const FEATURES: std::ops::RangeInclusive<u32> = 1..=73;

#[test]
fn the_page_of_options_leaves_out_no_feature_of_other_builders() {
    let page = page();
    let missing: Vec<String> =
        FEATURES.map(|number| format!("B{number:03}")).filter(|name| !page.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_page_of_options_and_the_help_name_the_same_options() {
    let help = Bench::new().run(["build", "--help"]).success().out();
    let listed: BTreeSet<String> = help
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with('-'))
        .flat_map(|line| line.split([',', ' ', '[', ')']).filter(|word| word.starts_with("--")).map(str::to_owned))
        .collect();
    let shown: BTreeSet<String> = rows(&page(), "What stave does")
        .into_iter()
        .flat_map(|row| row.options)
        .filter(|option| option.starts_with("--"))
        .collect();
    let own: BTreeSet<String> = ["--root", "--no-color", "--help"].map(str::to_owned).into();
    let listed: BTreeSet<String> = listed.difference(&own).cloned().collect();
    assert_eq!(shown, listed);
}

#[test]
fn every_option_of_other_builders_is_answered_as_the_page_says() {
    let bench = small();
    let mut tried = 0;
    for row in rows(&page(), "What stave answers") {
        let values = match row.cells[1].as_str() {
            "given" => vec!["true".to_owned()],
            cell => quoted(cell),
        };
        for (option, value) in row.options.iter().flat_map(|option| values.iter().map(move |value| (option, value))) {
            // `-m 1`, `--memory=1`.
            let given = if option.starts_with("--") { format!("{option}={value}") } else { format!("{option}{value}") };
            let output = bench.run(["build", given.as_str(), "."]);
            let before = row.options.iter().take_while(|name| *name != option);
            let long = before.filter(|name| name.starts_with("--")).last();
            let name = if option.starts_with("--") { option } else { long.expect("a short form follows the long") };
            match row.cells[2].split(':').next() {
                Some("so anyway") => {
                    assert!(!output.success().stderr.contains("note:"), "{given}: {}", output.stderr);
                }
                Some("note") => {
                    output.success().complains(&format!("note: `{name}` changes nothing here: "));
                }
                Some("refused") => {
                    output.exit(2).complains(&format!("error: `{name}={value}` is not supported\nhint: "));
                }
                Some("not yet") => {
                    output.exit(2).complains(&format!("error: `{name}` is not supported by stave yet\nhint: "));
                }
                other => panic!("the page says {other:?} of {option}"),
            }
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

/// Mistakes in options, and all that is said about each.
const MISTAKES: &[(&[&str], &str)] = &[
    (
        &["--ulimit", "nofiles=1"],
        "error: `--ulimit nofiles=1`: no limit is named `nofiles`: expected one of core, cpu, data, fsize, locks, \
             memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack\n\
             hint: See `stave build --help` for what there is.\n",
    ),
    (
        &["--add-host", "a"],
        "error: `--add-host a`: expected `NAME:ADDRESS` or `NAME=ADDRESS`\n\
             hint: See `stave build --help` for what there is.\n",
    ),
    (
        &["--progress", "plian"],
        "error: `--progress plian`: expected one of `auto`, `tty`, `plain`, `rawjson`, `quiet`, `none`\n\
             hint: A similar value is `plain`.\n",
    ),
    (
        &["--network", "bridge"],
        "error: `--network bridge`: steps cannot join the network `bridge`: expected `default`, `host` (both the \
             machine's) or `none`\nhint: See `stave build --help` for what there is.\n",
    ),
    (
        &["--no-cache", "--no-cache-filter", "x"],
        "error: `--no-cache` and `--no-cache-filter` cannot be used together\nhint: Leave one of the two out.\n",
    ),
    (
        &["-q", "--progress=plain"],
        "error: `--quiet` and `--progress` contradict each other\n\
             hint: With `-q` only the image's id is printed; leave one of the two out.\n",
    ),
    (
        &["--iidfile", "id", "-o", "out"],
        "error: `--iidfile` needs an image, and `--output` writes only its files\n\
             hint: Keep the image, too, with `--load`, or leave `--iidfile` out.\n",
    ),
    (
        &["--push"],
        "error: the image is to be pushed, and has no name that says where to\n\
             hint: Name it with `-t REGISTRY/NAME:TAG`.\n",
    ),
    (
        &["--secret", "id=a,src=nowhere"],
        "error: cannot read the secret `a` from `nowhere`: No such file or directory (os error 2)\n\
             hint: Say where it is: `--secret id=ID,src=FILE` or `--secret id=ID,env=VARIABLE`.\n",
    ),
    (
        &["--secret", "id=a,src=large"],
        "error: the secret `a` is too large: `large` has 512001 bytes\n\
             hint: A secret has 500 KiB at most; mount larger files with `--build-context`.\n",
    ),
    (
        &["--ssh", "default"],
        "error: `--ssh default` means your SSH agent, and SSH_AUTH_SOCK is not set\n\
             hint: Start an agent, or name keys: `--ssh default=$HOME/.ssh/id_ed25519`.\n",
    ),
    (&["--ssh", "a=nowhere"], "error: cannot use `nowhere` for `--ssh a`: No such file or directory (os error 2)\n"),
    (
        &["--compress=maybe"],
        "error: `--compress maybe`: expected `true` or `false`\nhint: See `stave build --help` for what there is.\n",
    ),
    (&["--isolaton=x"], "error: `stave build` has no flag `--isolaton`\nhint: A similar flag is `--isolation`.\n"),
];

#[test]
fn what_cannot_be_read_or_goes_with_nothing_else_is_said_by_its_name() {
    let bench = small();
    bench.file("large", vec![0; 500 * 1024 + 1]);
    for (args, message) in MISTAKES {
        let output = bench.run(["build"].iter().chain(*args).chain(&["."]));
        assert_eq!(&output.exit(2).stderr, message, "{args:?}");
    }
    assert!(!bench.store().exists(), "a mistake makes no store");
}

/// B006, B007
#[test]
fn values_of_arguments_come_from_options_files_and_the_environment() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    bench.set("FROM_ENV", "env").set("EMPTY", "");
    bench.file("args", "# a remark\n\nA=file\nB = spaced\nFROM_ENV\n");
    bench.file(
        "Dockerfile",
        "FROM busybox\nARG A=d B=d FROM_ENV=d EMPTY=d UNSET=d\nRUN echo \"$A,$B,$FROM_ENV,$EMPTY,$UNSET\" > /r\n",
    );
    let args =
        ["build", "--build-arg-file", "args", "--build-arg", "A=1", "--build-arg", "A=2", "--build-arg", "EMPTY"];
    bench.run(args.iter().chain(&["--build-arg", "UNSET", "-o", "out", "."])).success();
    let made = fs::read_to_string(bench.work().join("out/r")).expect("made");
    assert_eq!(made, "2,d,env,,d\n");
    bench.run(["build", "--build-arg", "=x", "."]).exit(2).complains("the name is missing");
    bench.run(["build", "--label", "=x", "."]).exit(2).complains("`--label =x`: the name is missing");
    bench.file("args", "A=b\n=c\n");
    bench.run(["build", "--build-arg-file", "args", "."]).exit(2).complains("line 2 of `args`: the name is missing");
    bench.run(["build", "--build-arg-file", "nowhere", "."]).exit(2).complains("cannot read `nowhere`");
}

/// A075
#[test]
fn proxies_of_dockers_configuration_reach_steps_and_nothing_else() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    bench.file(
        "docker/config.json",
        r#"{"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "x"}, "tcp://other": {"allProxy": "y"}}}"#,
    );
    let directory = bench.work().join("docker");
    bench.set("DOCKER_CONFIG", directory);
    bench.file("Dockerfile", "FROM busybox\nRUN echo \"$HTTP_PROXY $http_proxy $no_proxy $ALL_PROXY.\" > /r\n");
    let output = bench.run(["build", "-t", "made", "-o", "out", "--load", "."]);
    assert!(!output.success().stderr.contains("not declared"), "{}", output.stderr);
    assert_eq!(fs::read_to_string(bench.work().join("out/r")).expect("made"), "http://p:1 http://p:1 x .\n");
    assert!(!bench.run(["inspect", "made"]).success().out().contains("http://p"));
    bench.file("docker/config.json", "{}");
    bench.run(["build", "."]).success().complains("CACHED");
    bench.file("docker/config.json", r#"{"proxies": {"default": {"httpProxy": "http://q"}}}"#);
    bench.run(["build", "--no-cache", "--build-arg", "HTTP_PROXY=http://own", "-o", "out", "."]).success();
    assert!(fs::read_to_string(bench.work().join("out/r")).expect("made").starts_with("http://own "));
    bench.file("docker/config.json", "{\"proxies\": 1}");
    bench.run(["build", "."]).exit(3).complains("docker/config.json");
}

/// T203, B011
#[test]
fn a_stage_that_is_filtered_runs_again_and_others_do_not() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file(
        "Dockerfile",
        "FROM busybox AS one\nRUN cat /proc/sys/kernel/random/uuid > /one\n\
         FROM busybox AS two\nRUN cat /proc/sys/kernel/random/uuid > /two; echo same > /same\n\
         FROM busybox\nCOPY --from=one /one /\nCOPY --from=two /same /\nCOPY --from=two /two /\n",
    );
    let build = |args: &[&str]| {
        bench.run(["build", "-o", "out"].iter().chain(args).chain(&["."])).success();
        let read = |name: &str| fs::read_to_string(bench.work().join("out").join(name)).expect("made");
        (read("one"), read("two"))
    };
    let (one, two) = build(&[]);
    assert_eq!(build(&[]), (one.clone(), two.clone()));
    let (same, fresh) = build(&["--no-cache-filter=TWO"]);
    assert_eq!(same, one);
    assert_ne!(fresh, two);
    assert_eq!(build(&[]), (one.clone(), fresh.clone()), "the new result is the one that counts from now on");
    let (one, two) = build(&["--no-cache-filter", "1,none"]);
    assert_ne!(two, fresh);
    let output = bench.run(["build", "--no-cache-filter=tow", "."]);
    output.success().complains("note: `--no-cache-filter tow` is about no step of this build\n");
    let both = build(&["--no-cache-filter=one", "--no-cache-filter=two"]);
    assert!(both.0 != one && both.1 != two);
}

/// B005, B016
#[test]
fn a_built_image_is_pushed_under_all_its_names() {
    let registry = LoopbackRegistry::start();
    let bench = small().with_registry(&registry);
    let (a, b) = (format!("{}/a:1", registry.host()), format!("{}/b", registry.host()));
    bench.run(["build", "-t", &a, "-t", &b, "--push", "--metadata-file", "meta", "."]).success();
    let meta = fs::read(bench.work().join("meta")).expect("written");
    let meta: serde_json::Value = serde_json::from_slice(&meta).expect("JSON");
    assert_eq!(meta["containerimage.descriptor"]["digest"], meta["containerimage.digest"]);
    assert_eq!(meta["containerimage.descriptor"]["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert!(meta["containerimage.descriptor"]["size"].as_u64().is_some_and(|size| size > 100), "{meta}");
    bench.run(["rmi", &a, &b]).success();
    bench.run(["pull", &b]).success().success();
    bench.run(["build", "-o", &format!("type=registry,name={a}-2"), "."]).success();
    bench.run(["rmi", &format!("{a}-2")]).success();
    bench.run(["pull", &format!("{a}-2")]).success();
}

#[test]
fn an_image_that_cannot_be_pushed_is_kept() {
    let bench = small();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let name = format!("{}/a", nobody.expect("a loopback interface"));
    bench.run(["build", "-t", &name, "--push", "."]).exit(3).complains("127.0.0.1");
    bench.run(["inspect", &name]).success();
}

/// B053
#[test]
fn labels_of_the_commit_are_made_where_a_variable_asks_for_them() {
    let Some(mut bench) = repository() else {
        eprintln!("skipped: this machine has no `git`");
        return;
    };
    let labels = |bench: &Bench, args: &[&str]| {
        let output = bench.run(["build", "-t", "x"].iter().chain(args).chain(&["sub"]));
        output.success();
        let shown = bench.run(["inspect", "-f", "{{json .Config.Labels}}", "x"]).success().line();
        (serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), output.stderr)
    };
    assert!(labels(&bench, &[]).0.is_null());
    bench.set("BUILDX_GIT_LABELS", "1").set("BUILDX_GIT_CHECK_DIRTY", "1");
    let (made, _) = labels(&bench, &["--label", "org.opencontainers.image.source=own"]);
    let revision = made["org.opencontainers.image.revision"].as_str().expect("it is a text");
    assert!(revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit()), "{revision}");
    assert_eq!(made["org.opencontainers.image.source"], "own");
    assert_eq!(made["com.docker.image.source.entrypoint"], "sub/Dockerfile");
    bench.file("sub/a", "changed");
    let (made, _) = labels(&bench, &[]);
    assert_eq!(made["org.opencontainers.image.revision"], format!("{revision}-dirty"));
    assert_eq!(made["org.opencontainers.image.source"], "https://example.com/x.git");
    fs::rename(bench.work().join(".git"), bench.path("elsewhere")).expect("a writable bench");
    let (made, said) = labels(&bench, &[]);
    assert!(made.is_null() && said.contains("note: no label says which commit this is"), "{said}");
}

fn metadata(bench: &Bench) -> serde_json::Value {
    serde_json::from_slice(&fs::read(bench.work().join("meta")).expect("written")).expect("JSON")
}

#[test]
fn outputs_and_the_store_go_together_or_not_as_asked() {
    let bench = small();
    let images = || bench.run(["images", "-q"]).success().out().lines().count();
    bench.run(["build", "-t", "x", "-o", "type=cacheonly", "."]).success();
    assert_eq!(images(), 0, "only the cache is filled");
    bench.run(["build", "-t", "x", "-o", "type=oci,dest=x.tar", "--metadata-file", "meta", "."]).success();
    assert_eq!(images(), 0);
    let meta = fs::read_to_string(bench.work().join("meta")).expect("written");
    assert!(meta.contains("\"containerimage.digest\": \"sha256:"), "{meta}");
    bench.run(["build", "-o", "type=cacheonly", "--metadata-file", "meta", "."]).success();
    assert_eq!(metadata(&bench).get("containerimage.digest"), None, "no image was exported");
    bench.run(["build", "-t", "kept", "--metadata-file", "meta", "."]).success();
    let id = bench.run(["inspect", "-f", "{{.Id}}", "kept"]).success().line();
    assert_eq!(metadata(&bench)["containerimage.digest"], id.as_str(), "as Docker has it with a store of its own");
    bench.run(["rmi", "kept"]).success();
    bench.run(["build", "-t", "x", "-o", "type=oci,dest=x.tar", "-o", "type=image,name=y", "."]).success();
    assert_eq!(
        bench.run(["inspect", "-f", "{{.Id}}", "x"]).success().line(),
        bench.run(["inspect", "-f", "{{.Id}}", "y"]).line()
    );
    bench.run(["rmi", "x", "y"]).success();
    bench.run(["build", "-t", "x", "-o", "out", "--load", "--iidfile-raw", "id", "."]).success();
    let id = fs::read_to_string(bench.work().join("id")).expect("written");
    assert_eq!(format!("sha256:{id}"), bench.run(["inspect", "-f", "{{.Id}}", "x"]).success().line());
    assert!(bench.work().join("out/a").is_file());
    let error = "standard output can take one thing only";
    bench.run(["build", "-o", "-", "-o", "type=oci", "."]).exit(2).complains(error);
    bench.run(["build", "-o", "-", "-q", "."]).exit(2).complains(error);
}

/// B012
#[test]
fn bases_are_asked_for_when_pull_says_so() {
    let Some((bench, registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nENV A=b\n");
    bench.run(["build", "--pull=never", "."]).exit(2).complains("the store has no `busybox` for linux/");
    bench.run(["build", "."]).success();
    drop(registry.take_log());
    for quiet in [&["--pull=missing"][..], &["--pull=false"], &["--pull", "--pull=false"], &["--pull=never"]] {
        bench.run(["build"].iter().chain(quiet).chain(&["."])).success();
        assert_eq!(registry.take_log(), Vec::<String>::new(), "{quiet:?}");
    }
    for asks in ["--pull", "--pull=always", "--pull=true"] {
        bench.run(["build", asks, "."]).success();
        assert!(!registry.take_log().is_empty(), "{asks}");
    }
    bench.run(["build", "--pull=newer", "."]).exit(2).complains("`always` asks the registry");
}

/// B052
#[test]
fn variables_stand_for_options_that_are_not_given() {
    let mut bench = small();
    bench.set("BUILDKIT_PROGRESS", "rawjson").set("DOCKER_BUILDKIT", "0").set("BUILDX_NO_DEFAULT_ATTESTATIONS", "1");
    assert!(bench.run(["build", "."]).success().stderr.starts_with('{'));
    assert!(!bench.run(["build", "--progress=plain", "."]).success().stderr.starts_with('{'));
    bench.set("BUILDKIT_PROGRESS", "loud");
    bench.run(["build", "."]).exit(2).complains("the variable BUILDKIT_PROGRESS is `loud`");
    bench.set("BUILDKIT_PROGRESS", "").set("DOCKER_DEFAULT_PLATFORM", "linux/s390x");
    let architecture = |args: &[&str]| {
        bench.run(["build", "-t", "x"].iter().chain(args).chain(&["."])).success();
        bench.run(["inspect", "-f", "{{.Architecture}}", "x"]).success().line()
    };
    assert_eq!(architecture(&[]), "s390x");
    let own = architecture(&["--platform", "local"]);
    assert_ne!(own, "s390x");
    assert_eq!(architecture(&["--platform=local,local", "--platform", "local"]), own);
    bench.set("DOCKER_DEFAULT_PLATFORM", "no such thing");
    bench.run(["build", "."]).exit(2).complains("the variable DOCKER_DEFAULT_PLATFORM is `no such thing`");
}

#[test]
fn a_platform_that_nobody_knows_is_refused() {
    let mut bench = small();
    for text in ["amr64", "foo"] {
        bench.run(["build", "--platform", text, "."]).exit(2).complains(&format!("`{text}` is not a platform"));
    }
    bench.run(["build", "--platform=linux/amd64,", "."]).exit(2).complains("a platform is missing beside a comma");
    for text in ["amr64", "linux/amd64,"] {
        bench.set("DOCKER_DEFAULT_PLATFORM", text);
        bench.run(["build", "."]).exit(2).complains(&format!("`{text}` is not a platform"));
    }
}

#[test]
fn names_that_read_as_ids_are_not_given_to_images() {
    let bench = small();
    bench.run(["build", "-t", "made", "."]).success();
    let digits = "ab12".repeat(16);
    for name in [&digits, "sha256:0123456789ab"] {
        for args in [&["tag", "made", name][..], &["build", "-t", name, "."], &["import", "none.tar", name]] {
            bench.run(args).exit(2).complains("it reads as an id");
        }
        let output = format!("type=image,name={name}");
        bench.run(["build", "-o", &output, "."]).exit(2).complains("it reads as an id");
    }
}

#[test]
fn outputs_that_contradict_themselves_or_each_other_are_refused() {
    let bench = small();
    let two = ["build", "-o", "type=tar,dest=out", "-o", "type=oci,dest=./out", "."];
    bench.run(two).exit(2).complains("two outputs have `./out` as their destination");
    let tagged = "type=image,push=true,push-by-digest=true,name=127.0.0.1:1/x:1";
    bench.run(["build", "-o", tagged, "."]).exit(2).complains("`push-by-digest=true` pushes without one");
    for option in ["--build-arg=SOURCE_DATE_EPOCH=9999999999999", "--output=type=image,source-date-epoch=9999999999999"]
    {
        bench.run(["build", option, "."]).exit(2).complains("`9999999999999`: this is after the year 9999");
    }
    bench.run(["build", "--timestamp=9999999999999", "."]).exit(2).complains("a number of seconds since 1970");
}

/// A088, B062
#[test]
fn the_time_of_an_image_is_an_option_an_argument_or_a_variable() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /r\n");
    bench.set("SOURCE_DATE_EPOCH", "86400");
    let build = |args: &[&str]| {
        bench.run(["build", "-t", "x", "--load", "-o", "out"].iter().chain(args).chain(&["."])).success();
        let seen = fs::read_to_string(bench.work().join("out/r")).expect("made");
        format!("{} {}", bench.run(["inspect", "-f", "{{.Created}}", "x"]).success().line(), seen.trim())
    };
    assert_eq!(build(&[]), "1970-01-02T00:00:00Z 86400");
    assert_eq!(build(&["--build-arg", "SOURCE_DATE_EPOCH=1"]), "1970-01-01T00:00:01Z 1");
    assert_eq!(
        build(&["--source-date-epoch", "2", "--build-arg", "SOURCE_DATE_EPOCH=1", "--rewrite-timestamp"]),
        "1970-01-01T00:00:02Z 2"
    );
    bench.run(["build", "--source-date-epoch", "1.5", "."]).exit(2).complains("SOURCE_DATE_EPOCH is `1.5`");
}

/// B019: without more than its id, a secret is a variable of that name, or else a file.
#[test]
fn a_secret_that_is_only_named_is_looked_for() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    bench.set("TOKEN", "variable").file("token", "file").file("TOKEN", "not this");
    bench.file(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=secret,id=TOKEN --mount=type=secret,id=token cat /run/secrets/TOKEN /run/secrets/token > /r\n",
    );
    bench.run(["build", "-o", "out", "--secret", "id=TOKEN", "--secret=id=token", "."]).success();
    assert_eq!(fs::read_to_string(bench.work().join("out/r")).expect("made"), "variablefile");
    let empty = bench.run(["build", "--secret", "id=a,env=NOWHERE", "."]);
    empty.success().complains("note: the secret `a` is empty: the variable `NOWHERE` is not set\n");
    bench.run(["build", "--secret", "id=a,src=.", "."]).exit(2).complains("`.` is a directory");
}

/// T159, B020: an agent is chosen by its id; keys get one that ends with the build.
#[test]
fn agents_are_those_of_the_environment_of_a_path_or_of_keys() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN --mount=type=ssh,id=git,required=true test -S $SSH_AUTH_SOCK\n");
    let socket = bench.path("socket");
    let _listener = UnixListener::bind(&socket).expect("a writable bench");
    let named = format!("git={}", socket.display());
    bench.run(["build", "--ssh", &named, "."]).success();
    bench.set("SSH_AUTH_SOCK", &socket);
    bench.run(["build", "--no-cache", "--ssh", "git", "."]).success();
    bench.run(["build", "--no-cache", "--ssh=default", "."]).exit(1).complains("needs SSH agent `git`");
    let both = format!("{named},Dockerfile");
    bench.run(["build", "--ssh", &both, "."]).exit(2).complains("`--ssh git` names a socket beside other paths");
    let key = bench.work().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine has no `ssh-keygen`");
        return;
    }
    bench.run(["build", "--no-cache", "--ssh", "git=key", "."]).success();
    bench.run(["build", "--ssh", "git=key.pub", "."]).exit(2).complains("cannot use the key `key.pub` of `--ssh git`");
    assert_eq!(fs::read_dir(bench.path("tmp")).expect("the bench has it").count(), 0, "nothing of an agent is left");
    for kind in ["ranges", "single"] {
        let Some(user) = needs::user(kind) else { continue };
        bench = bench.as_user(&user);
        bench.run(["build", "--no-cache", "--ssh", "git=key", "."]).success();
    }
}

/// T160: the network of the machine for all steps is also allowed to one. B023.
#[test]
fn the_network_of_all_steps_is_allowed_to_each() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", "FROM busybox\nRUN --network=host true\n");
    bench.run(["build", "--network=host", "."]).success();
    bench.run(["build", "--network=none", "--no-cache", "."]).exit(1).complains("--allow network.host");
    bench.run(["build", "--allow", "fs.read=/", "."]).exit(2).complains("expected `security.insecure`");
}

/// What remains of `--target=$TARGET` where there is no such variable.
#[test]
fn an_empty_value_is_as_good_as_none() {
    let bench = small();
    let empty =
        ["--target=", "--file=", "--platform=", "--network=", "--cgroup-parent=", "--no-cache-filter=", "--iidfile="];
    let output = bench.run(["build", "-o", "out", "--metadata-file="].iter().chain(&empty).chain(&["."]));
    assert!(!output.success().stderr.contains("note:"), "{}", output.stderr);
}

/// B020: not even the end of a killed build leaves an agent with keys behind.
#[test]
fn the_agent_of_a_killed_build_ends() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let key = bench.work().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine has no `ssh-keygen`");
        return;
    }
    bench.file("Dockerfile", "FROM busybox\nRUN --mount=type=ssh sleep 600\n");
    let mut build = bench.spawn(["build", "--ssh", "default=key", "."]);
    let agents = || {
        let entries = fs::read_dir(bench.path("tmp")).expect("the bench has it").flatten();
        entries.map(|entry| entry.path()).filter(|path| path.display().to_string().contains("stave-ssh-")).collect()
    };
    let wait_for = |is_so: &dyn Fn(Vec<PathBuf>) -> bool| {
        let began = Instant::now();
        while !is_so(agents()) {
            assert!(began.elapsed() < Duration::from_secs(30), "{:?}", agents());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait_for(&|agents| agents.first().is_some_and(|directory| directory.join("agent").exists()));
    build.kill().expect("it runs");
    build.wait().expect("it ends");
    wait_for(&|agents| agents.is_empty());
}

#[test]
fn a_check_needs_nothing_of_what_steps_are_given() {
    let bench = small();
    bench.run(["build", "--check", "--secret", "id=a,src=nowhere", "--ssh", "default", "."]).success();
}
