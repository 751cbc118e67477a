//! Volumes: directories of the store that containers share and leave behind.

use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, needs};

/// A bench with the image `app`, which has files below `/data`.
fn with_data(user: Option<&str>) -> Option<(Bench, stave_testkit::LoopbackRegistry)> {
    let (bench, registry) = with_busybox()?;
    let bench = if let Some(user) = user { bench.as_user(user) } else { bench };
    bench.file(
        "Dockerfile",
        "FROM busybox\nRUN mkdir -p /data/sub && echo seed > /data/sub/file && ln /data/sub/file /data/hard && chmod 1777 /data\nVOLUME /data\n",
    );
    bench.run(["build", "-t", "app", "."]).success();
    Some((bench, registry))
}

fn shell(bench: &Bench, flags: &[&str], script: &str) -> String {
    let mut args = vec!["run", "--rm", "--network", "none"];
    args.extend(flags);
    args.extend(["app", "sh", "-c", script]);
    bench.run(args).success().out()
}

/// What one container leaves in a volume, the next one finds; an empty one begins with what the image has there.
fn shared(user: Option<&str>) {
    let Some((bench, _registry)) = with_data(user) else { return };
    let look = "stat -c '%a %h %n' /data /data/sub/file; cat /data/sub/file";
    assert_eq!(shell(&bench, &["-v", "one:/data"], look), "1777 3 /data\n644 2 /data/sub/file\nseed\n");
    shell(&bench, &["-v", "one:/data"], "echo more >> /data/sub/file; rm /data/hard");
    assert_eq!(shell(&bench, &["-v", "one:/other:ro"], "cat /other/sub/file; ls /other"), "seed\nmore\nsub\n");
    bench.run(["run", "--rm", "-v", "one:/data:ro", "app", "touch", "/data/x"]).exit(1).complains("Read-only");
    // The image and other volumes know nothing of it.
    let mount = "type=volume,source=two,target=/data";
    assert_eq!(shell(&bench, &["--mount", mount], "cat /data/sub/file"), "seed\n");
    assert_eq!(shell(&bench, &[], "cat /data/sub/file"), "seed\n");
    assert_eq!(shell(&bench, &["--mount", "type=volume,source=three,target=/data,volume-nocopy"], "ls /data"), "");
    assert_eq!(shell(&bench, &["-v", "four:/nothing/there"], "ls /nothing/there"), "");
    assert_eq!(bench.run(["volume", "ls", "-q"]).success().out(), "four\none\nthree\ntwo\n");
    bench.run(["store", "check"]).success();
}

#[test]
fn volumes_outlive_the_containers_that_share_them() {
    shared(None);
}

#[test]
fn volumes_outlive_the_containers_of_a_user_with_ranges() {
    if let Some(user) = needs::user("ranges") {
        shared(Some(&user));
    }
}

#[test]
fn a_volume_is_made_listed_and_removed_as_docker_does_it() {
    let Some((bench, _registry)) = with_data(None) else { return };
    assert_eq!(bench.run(["volume", "create", "--label", "k=v", "mine"]).success().out(), "mine\n");
    assert_eq!(bench.run(["volume", "create", "mine"]).success().out(), "mine\n");
    let made_up = bench.run(["volume", "create"]).success().line();
    assert_eq!(made_up.len(), 64);
    bench.run(["create", "--name", "user", "-v", "mine:/m", "app", "true"]).success();
    let inspected = bench.run(["volume", "inspect", "-f", "{{.Name}} {{.Driver}} {{.Labels.k}}", "mine"]);
    assert_eq!(inspected.success().out(), "mine local v\n");
    let listed = |filter: &str| bench.run(["volume", "ls", "-q", "--filter", filter]).success().out();
    assert_eq!(listed("dangling=true"), format!("{made_up}\n"));
    assert_eq!(listed("label=k=v"), "mine\n");
    assert_eq!(listed("name=in"), "mine\n");
    let table = bench.run(["volume", "list"]).success().out();
    assert!(table.starts_with("DRIVER") && table.contains("VOLUME NAME") && table.contains("local"), "{table}");
    let mount = bench.run(["inspect", "-f", "{{range .Mounts}}{{.Type}} {{.Name}}{{end}}", "user"]);
    assert_eq!(mount.success().out(), "volume mine\n");
    // Who has it keeps it, and pruning images leaves it alone.
    bench.run(["volume", "rm", "mine"]).exit(1).complains("volume `mine` is used by container `user`");
    bench.run(["store", "prune", "--all", "--force"]).success();
    assert_eq!(bench.run(["volume", "prune", "-f"]).success().out(), format!("{made_up}\n"));
    bench.run(["rm", "user"]).success();
    assert_eq!(bench.run(["volume", "prune", "-f"]).success().out(), "");
    assert_eq!(bench.run(["volume", "prune", "-af", "--filter", "label=other"]).success().out(), "");
    let asked = bench.run(["volume", "prune", "-a"]);
    assert_eq!(
        (asked.success().out(), asked.stderr.as_str()),
        (
            String::new(),
            "WARNING! This will remove all volumes not used by at least one container.\nAre you sure you want to continue? [y/N] \n"
        )
    );
    assert_eq!(bench.run(["volume", "prune", "-a", "-f"]).success().out(), "mine\n");
    bench.run(["volume", "rm", "mine"]).exit(1).complains("no such volume: `mine`");
    assert_eq!(bench.run(["volume", "rm", "-f", "mine"]).success().out(), "mine\n");
    bench.run(["volume", "inspect", "mine"]).exit(1);
    for name in ["../x", "-v", "a b"] {
        bench.run(["volume", "create", "--", name]).exit(1).complains("is not a volume name");
    }
    bench.run(["create", "-v", "a/b:/x", "app", "true"]).exit(2).complains("`a/b` is neither a volume nor a path");
    assert_eq!(std::fs::read_dir(bench.store().join("volumes")).expect("the volumes").count(), 0);
}

/// What `du` says of a store with volumes is what the store says.
#[test]
fn volumes_are_counted() {
    let Some((bench, _registry)) = with_data(None) else { return };
    shell(&bench, &["-v", "big:/data"], "head -c 5000000 /dev/zero > /data/big");
    let usage = bench.run(["store", "usage", "--format", "{{.Kind}} {{.Count}} {{.Bytes}}"]).success().out();
    let bytes = |kind: &str| {
        let line = usage.lines().find_map(|line| line.strip_prefix(kind)).expect("a line").trim().to_owned();
        line.split(' ').next_back().and_then(|number| number.parse::<u64>().ok()).expect("a number")
    };
    assert!(usage.contains("volumes 1 5"), "{usage}");
    let measured = std::process::Command::new("du").args(["-s", "-B1"]).arg(bench.store()).output().expect("du runs");
    let measured = String::from_utf8(measured.stdout).expect("text");
    let measured: u64 = measured.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
    let total = bytes("total");
    assert!(total.abs_diff(measured) * 100 <= measured, "{total} and {measured}");
}
