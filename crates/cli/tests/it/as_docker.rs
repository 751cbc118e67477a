//! What docker's users type, and what docker's scripts read.

use stave_testkit::fixtures::with_busybox;
use stave_testkit::terminal::typed;
use stave_testkit::{Bench, LoopbackRegistry};

/// A bench with a container that has not run, and an image without a name.
fn with_leftovers() -> Option<(Bench, LoopbackRegistry)> {
    let (bench, registry) = with_busybox()?;
    bench.run(["create", "--name", "old", "busybox", "true"]).success();
    Some((bench, registry))
}

fn containers(bench: &Bench) -> String {
    bench.run(["ps", "-a", "--format", "{{.Names}}"]).success().out()
}

/// I031, D026: without `-f` docker's commands ask, and an answer that does not come is no.
#[test]
fn prune_asks_and_takes_no_answer_for_no() {
    let Some((bench, _registry)) = with_leftovers() else { return };
    for (words, warning) in [
        (&["container", "prune"][..], "WARNING! This will remove all stopped containers.\n"),
        (&["image", "prune"], "WARNING! This will remove all dangling images.\n"),
        (
            &["image", "prune", "-a"],
            "WARNING! This will remove all images without at least one container associated to them.\n",
        ),
        (&["builder", "prune"], "WARNING! This will remove all dangling build cache.\n"),
        (&["buildx", "prune", "--all"], "WARNING! This will remove all build cache.\n"),
        (
            &["system", "prune"],
            "WARNING! This will remove:\n  - all stopped containers\n  - all dangling images\n  - all dangling build cache\n\n",
        ),
    ] {
        let asked = bench.run(words);
        assert_eq!(asked.success().out(), "Total reclaimed space: 0B\n", "{words:?}");
        assert_eq!(asked.stderr, format!("{warning}Are you sure you want to continue? [y/N] \n"));
    }
    assert_eq!(containers(&bench), "old\n");
    let refused = bench.run_with_input(["container", "prune"], b"n\n".to_vec());
    assert_eq!(refused.success().out(), "Total reclaimed space: 0B\n");
    assert_eq!(containers(&bench), "old\n");
    let id = bench.run(["ps", "-aq", "--no-trunc"]).success().line();
    let agreed = bench.run_with_input(["container", "prune"], b"Y\n".to_vec());
    assert_eq!(agreed.success().out(), format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: 0B\n"));
    assert_eq!(containers(&bench), "");
    // Without a terminal, stave's own form does as it is told.
    bench.run(["store", "prune", "--all"]).success();
    assert_eq!(bench.run(["images", "-q"]).success().out(), "");
}

#[test]
fn store_prune_with_all_asks_on_a_terminal() {
    let Some((bench, _registry)) = with_leftovers() else { return };
    let (status, text) = typed(bench.command(["store", "prune", "--all"]), 100, 24, &[("[y/N] ", "n\n")]);
    assert!(status.success() && text.contains("Total reclaimed space: 0B"), "{text}");
    assert!(text.starts_with("WARNING! This will remove:\r\n  - all images without"), "{text}");
    let (status, text) = typed(bench.command(["store", "prune"]), 100, 24, &[] as &[(&str, &str)]);
    assert!(status.success() && !text.contains("WARNING"), "{text}");
}

/// A093: `-h` is the host name, which a process finds in its environment, as under docker.
#[test]
fn the_short_flag_of_the_host_name_is_dockers() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let said = bench.run(["run", "--rm", "-h", "mine", "busybox", "sh", "-c", "hostname; echo $HOSTNAME"]);
    assert_eq!(said.success().out(), "mine\nmine\n");
    let said =
        bench.run(["run", "--rm", "-h", "mine", "-e", "HOSTNAME=other", "busybox", "sh", "-c", "echo $HOSTNAME"]);
    assert_eq!(said.success().out(), "other\n");
    assert!(bench.run(["run", "--help"]).success().out().contains("-h, --hostname"));
    bench.run(["create", "-h"]).exit(2).complains("`--hostname` needs a value");
}

#[test]
fn exec_makes_no_working_directory() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.run(["run", "-d", "--name", "job", "-h", "mine", "busybox", "sleep", "600"]).success();
    bench.run(["exec", "-w", "/nodir", "job", "pwd"]).exit(126).complains("cannot enter working directory `/nodir`");
    assert_eq!(
        bench.run(["exec", "-w", "/bin", "job", "sh", "-c", "pwd; echo $HOSTNAME"]).success().out(),
        "/bin\nmine\n"
    );
    assert_eq!(bench.run(["exec", "job", "ls", "-d", "/nodir"]).code, 1);
    bench.run(["rm", "-f", "job"]).success();
}

/// H001: credentials are read where `--config` says; flags that ask for what is so anyway are taken.
#[test]
fn global_flags_of_docker_are_carried_out_or_refused_by_name() {
    let Some((bench, registry)) = with_busybox() else { return };
    let config = bench.path("config");
    let config = config.to_str().expect("a path");
    let host = registry.host();
    bench.run(["--config", config, "login", "-u", "me", "-p", "secret", &host]).success();
    let kept = std::fs::read_to_string(bench.path("config/config.json")).expect("it is written there");
    assert!(kept.contains(&host), "{kept}");
    bench.run(["--context", "default", "--log-level=error", "ps"]).success();
    bench.run(["-H", "tcp://far:2375", "ps"]).exit(2).complains("`--host` of `docker` is not supported");
}

#[test]
fn flags_that_ask_for_dockers_defaults_are_taken() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.run(["run", "--rm", "--disable-content-trust", "--network", "bridge", "busybox", "true"]).success();
    bench.run(["create", "--disable-content-trust=true", "busybox", "true"]).success();
    bench
        .run(["pull", "--disable-content-trust=false", "busybox"])
        .exit(2)
        .complains("signatures of content trust are not verified: name the image `NAME@sha256:...`");
    bench.run(["pull", "--tls-verify=false", "busybox"]).exit(2).complains("`insecure = true` in registries.conf");
}

#[test]
fn version_has_dockers_two_programs() {
    let bench = Bench::new();
    let version = bench.run(["version", "--format", "{{.Client.Version}} {{.Server.Version}} {{.Server.Os}}"]);
    let own = env!("CARGO_PKG_VERSION");
    assert_eq!(version.success().out(), format!("{own} {own} linux\n"));
}

/// I013: what docker's scripts ask of containers and images.
#[test]
fn inspect_has_the_fields_that_scripts_read() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.run(["create", "--name", "one", "--label", "a.b=1", "--expose", "80", "busybox", "true"]).success();
    let shown = |format: &str, name: &str| bench.run(["inspect", "-f", format, name]).success().line();
    assert_eq!(
        shown("{{.State.StartedAt}} {{.State.OOMKilled}} [{{.State.Error}}]", "one"),
        "0001-01-01T00:00:00Z false []"
    );
    assert_eq!(shown("{{.RestartCount}} {{.Driver}} {{.Platform}} {{.State.Dead}}", "one"), "0 overlay linux false");
    assert_eq!(
        shown("[{{.NetworkSettings.IPAddress}}]{{range $n, $v := .NetworkSettings.Networks}}{{$n}}{{end}}", "one"),
        "[]host"
    );
    assert_eq!(shown("{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.LogConfig.Type}}", "one"), "no json-file");
    assert_eq!(shown("{{index .Config.Labels \"a.b\"}} {{.Config.Labels.nope}}", "one"), "1 <no value>");
    assert_eq!(shown("{{range $p, $c := .Config.ExposedPorts}}{{$p}}{{end}}", "one"), "80/tcp");
    assert_eq!(shown("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "one"), "none");
    let image = "[{{range $p, $c := .Config.ExposedPorts}}x{{end}}{{.Config.StopSignal}}{{.DockerVersion}}] {{.GraphDriver.Name}}";
    assert_eq!(shown(image, "busybox"), "[] overlay");
    assert_eq!(
        shown("{{if eq .Size .VirtualSize}}same{{end}} {{.Metadata.LastTagTime}}", "busybox"),
        "same 0001-01-01T00:00:00Z"
    );
}

/// I014
#[test]
fn ps_filters_and_fields_are_dockers() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.run(["create", "--name", "one", "--label", "x=1,2", "-v", "data:/d", "busybox", "true"]).success();
    bench.run(["create", "--name", "two", "--network", "none", "--expose", "80", "busybox", "true"]).success();
    let names = |filter: &str| bench.run(["ps", "-a", "-f", filter, "--format", "{{.Names}}"]).success().out();
    assert_eq!(names("network=none"), "two\n");
    assert_eq!(names("volume=data"), "one\n");
    assert_eq!(names("volume=/d"), "one\n");
    assert_eq!(names("expose=80"), "two\n");
    assert_eq!(names("publish=80"), "");
    assert_eq!(names("status=dead"), "");
    bench.run(["ps", "-f", "status=foo"]).exit(2).complains("`status=foo` is no state of a container");
    bench.run(["ps", "-f", "exited=x"]).exit(2).complains("`exited=x` is no exit code");
    let shown = bench.run([
        "ps",
        "-a",
        "-f",
        "name=one",
        "--format",
        "{{.Label \"x\"}} {{.Networks}} {{.Size}} [{{.Label \"y\"}}]",
    ]);
    assert!(shown.success().out().starts_with("1,2 host 0B (virtual "), "{}", shown.out());
    assert!(shown.out().ends_with(" []\n"), "{}", shown.out());
    assert!(
        bench
            .run(["ps", "-a", "--format", "table {{.Names}}\t{{.Label \"x\"}}"])
            .success()
            .out()
            .starts_with("NAMES     x\n")
    );
    assert!(!bench.run(["ps", "-a", "--format", "json"]).success().out().contains("\"Label\""));
}

/// H003: a short name means what registries.conf says, in `pull` and `imagetools inspect` as in `run`.
#[test]
fn short_names_are_searched_for_when_they_are_pulled() {
    let Some((bench, registry)) = with_busybox() else { return };
    let host = registry.host();
    let text = format!(
        "unqualified-search-registries = [\"{host}\"]\n[[registry]]\nlocation = \"{host}\"\ninsecure = true\n\
                 [[registry]]\nlocation = \"docker.io\"\nblocked = true\n"
    );
    std::fs::write(bench.path("registries.conf"), text).expect("a writable bench");
    let image = stave_testkit::Image::of_busybox().expect("with_busybox has it");
    registry.put("short", "1", &image).put("short", "2", &image);
    let name = format!("{host}/short:1");
    assert_eq!(bench.run(["pull", "-q", "short:1"]).success().line(), name);
    assert!(bench.run(["pull", "short:1"]).success().out().contains(&format!("Image is up to date for {name}\n")));
    assert_eq!(bench.run(["pull", "-aq", "short"]).success().out(), format!("{host}/short\n"));
    let shown = bench.run(["imagetools", "inspect", "--format", "{{.Name}}", "short:2"]);
    assert_eq!(shown.success().line(), format!("{host}/short:2"));
    // H041, H043: also as a source of what is merged.
    let merged = format!("{host}/merged:1");
    bench.run(["imagetools", "create", "-t", &merged, "short:1", "short:2"]).success();
    bench.run(["manifest", "inspect", "short:1"]).success();
    bench.run(["manifest", "create", "list:1", "short:1"]).success();
    bench.run(["manifest", "add", "list:1", "docker://short:2"]).success();
    bench.run(["manifest", "inspect", "-v", "short:1"]).success();
    assert!(bench.run(["manifest", "inspect", "-v", "short:1"]).out().contains(&format!("{host}/short:1\"")));
    bench.run(["imagetools", "create", "--dry-run", "docker.io/library/short:1"]).exit(3).complains("is blocked");
}

/// I001: without `--platform` the only platform that an image is for will do, and a note says so.
#[test]
fn an_image_for_another_platform_is_used_where_no_platform_was_asked_for() {
    let bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    bench.run(["build", "--platform", "linux/s390x", "-t", "other:1", "."]).success();
    let made = bench.run(["create", "other:1", "true"]);
    made.success().complains("`other:1` is for linux/s390x, this machine is linux/");
    bench
        .run(["create", "--platform", "linux/arm64", "other:1", "true"])
        .exit(2)
        .complains("image `other:1` is for linux/s390x, and linux/arm64 was asked for");
    bench.file("Dockerfile", "FROM other:1\nCOPY Dockerfile /\n");
    bench
        .run(["build", "--platform", "linux/arm64", "."])
        .complains("hint: The store has `other:1` for linux/s390x: `--platform linux/s390x` builds from it.");
}

/// I022, B31: an image that was pulled by its digest has a repository and no tag.
#[test]
fn an_image_that_was_pulled_by_digest_is_listed_by_its_repository() {
    let Some((bench, registry)) = with_busybox() else { return };
    let host = registry.host();
    registry.put("by/digest", "1", &stave_testkit::Image::of_busybox().expect("with_busybox has it"));
    let name = format!("{host}/by/digest");
    let shown =
        bench.run(["imagetools", "inspect", "--format", "{{.Manifest.Digest}}", &format!("{name}:1")]).success().line();
    bench.run(["pull", "-q", &format!("{name}@{shown}")]).success();
    let form = ["images", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"];
    let list = |more: &[&str]| bench.run(form.iter().chain(more)).success().out();
    let line = format!("{name} <none> {shown}\n");
    assert_eq!(list(&[&name]), line);
    assert_eq!(list(&["--filter", &format!("reference={host}/by/*")]), line);
    assert_eq!(list(&["--filter", "dangling=true"]), line);
    assert_eq!(list(&["--filter", "dangling=false", &name]), "");
    assert_eq!(list(&["other"]), "");
}

/// B13, I017
#[test]
fn a_list_of_containers_has_their_platforms() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.run(["create", "--name", "one", "busybox", "true"]).success();
    let host = stave_oci::Platform::host();
    let shown = bench.run(["ps", "-a", "--format", "{{.Names}} {{.Platform}} {{.Networks}}"]).success().line();
    assert_eq!(shown, format!("one {host} host"));
    let json = bench.run(["ps", "-a", "--format", "json"]).success().out();
    assert!(json.contains(&format!("\"Platform\":\"{host}\"")), "{json}");
}

/// A platform of two parts is taken, whatever its processor; where nothing is for it, the error says what is odd.
#[test]
fn a_processor_that_nobody_knows_is_named_where_nothing_is_for_it() {
    let Some((bench, registry)) = with_busybox() else { return };
    let (bench, name) = (bench.with_registry(&registry), format!("{}/multi:1", registry.host()));
    registry.put_index("multi", "1", &[&stave_testkit::Image::of_busybox().expect("with_busybox has it")]);
    bench.file("Dockerfile", format!("FROM --platform=linux/arn64 {name}\nCOPY Dockerfile /\n"));
    let output = bench.run(["build", "."]);
    assert!(output.code != 0);
    output.complains("`arn64` is no architecture that stave knows; a similar one is `arm64`.");
    bench.run(["pull", "--platform", "linux/foo", &name]).complains("`foo` is no architecture that stave knows.");
}

/// What is wrong with an argument says which, and what to do instead.
#[test]
fn mistakes_name_the_argument_and_the_way_out() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.run(["create", "--name", "one", "busybox", "true"]).success();
    bench.file("a", "a").file("dir/a", "a");
    let tar = std::process::Command::new("tar").args(["cf", "files.tar", "a"]).current_dir(bench.work()).status();
    assert!(tar.expect("tar runs").success());
    let half = std::fs::read(bench.work().join("files.tar")).expect("it is there")[..700].to_vec();
    bench.file("half.tar", half);
    for (words, code, text) in [
        (
            &["build", "-o", "type=oci,dest=", "."][..],
            2,
            "`dest=` has no value: expected a path, or `-` for standard output",
        ),
        (&["load", "-i", "files.tar"], 2, "hint: `stave import FILE NAME` makes an image of an archive of files."),
        (&["load", "-i", "half.tar"], 3, "malformed archive: it ends in the middle of an entry\n"),
        (&["load", "-i", "dir"], 2, "hint: If it is an OCI layout, `stave pull oci:dir` takes its image."),
        (&["exec", "one"], 2, "error: `stave exec` needs `COMMAND`\n"),
        (&["store", "limit", "zz"], 2, "error: BYTES `zz`: `zz` is no size"),
        (&["tag", "busybox", "A/B"], 2, "error: NAME `A/B`: image name `B` has upper-case letters"),
        (&["run", "--rm", "busybox", "nope"], 127, "error: `nope` is not in any directory of PATH"),
        (&["run", "--rm", "-u", "nobody-here", "busybox", "true"], 125, "error: cannot use `nobody-here` as the user"),
        (&["cp", "one:/bin/sh/", "out"], 1, "error: `one:/bin/sh/` is not a directory"),
    ] {
        bench.run(words).exit(code).complains(text);
    }
    let copied = bench.run(["cp", "one:/bin/busybox", "out"]);
    assert_eq!(copied.success().stderr, "");
}

/// I026: pushes and pulls say what docker's say.
#[test]
fn pushes_and_pulls_say_what_dockers_say() {
    let Some((bench, registry)) = with_busybox() else { return };
    let host = registry.host();
    let (one, two) = (format!("{host}/app:1"), format!("{host}/app:2"));
    bench.run(["pull", "-q", "busybox"]).success();
    bench.run(["tag", "busybox", &one]).success();
    bench.run(["tag", "busybox", &two]).success();
    let said = bench.run(["push", &one]).success().out();
    let bytes = registry.manifest("app", "1").expect("it was sent");
    let digest = stave_oci::BlobDigest::of(&bytes);
    assert_eq!(
        said,
        format!("The push refers to repository [{host}/app]\n1: digest: {digest} size: {}\n", bytes.len())
    );
    assert_eq!(bench.run(["push", "-aq", &format!("{host}/app")]).success().out(), format!("{host}/app\n"));
    let shown = bench.run(["manifest", "inspect", "-v", &one]).success().out();
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("it is JSON");
    assert_eq!(shown["Descriptor"]["platform"]["os"], "linux");
    assert!(shown["Raw"].as_str().is_some_and(|raw| raw.starts_with("ey")), "{shown}");
}

/// I031: an image that was pulled by its digest alone has no name, and docker's prune takes it.
#[test]
fn an_image_without_a_tag_is_dangling() {
    let Some((bench, registry)) = with_busybox() else { return };
    let digest = stave_oci::BlobDigest::of(&registry.manifest("library/busybox", "latest").expect("it is there"));
    bench.run(["pull", "-q", &format!("busybox@{digest}")]).success();
    let pruned = bench.run(["image", "prune", "-f"]).success().out();
    assert!(
        pruned.starts_with(&format!("Deleted Images:\nuntagged: docker.io/library/busybox@{digest}\ndeleted: ")),
        "{pruned}"
    );
}
