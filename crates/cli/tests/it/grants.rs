//! What the caller gives to steps on the command line: secrets, an SSH agent, rights, limits.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::callers::each_caller;
use stave_testkit::bench::Bench;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::output::Output;
use stave_testkit::{leaks, needs};

/// A text that nothing else has.
const SECRET: &str = "hush-4f1d7c-never-to-be-seen";

/// Builds a Dockerfile as image `made`, with further options.
fn build(bench: &Bench, options: &[&str], dockerfile: impl AsRef<str>) -> Output {
    bench.file("Dockerfile", dockerfile.as_ref());
    bench.run(["build", "-t", "made", "."].iter().chain(options))
}

/// What a shell line prints in image `made`.
fn in_image(bench: &Bench, line: &str) -> String {
    bench.run(["run", "--rm", "made", "sh", "-c", &format!("{line}; true")]).success().out()
}

/// The files below a directory that hold the secret, as it is or in base64.
fn with_secret(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if metadata.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()) {
                found.push(path);
            }
        }
    }
    found
}

/// T156, T157 and A120: a secret is a file that only root can read, or a variable, or both; its source is a file or a
/// variable.
#[test]
fn a_secret_is_a_file_or_a_variable_of_its_step() {
    each_caller(|caller| {
        let Some((mut bench, _registry)) = caller.busybox() else { return };
        bench.set("TOKEN", "from the environment");
        bench.file("../secret", "from a file");
        build(
        &bench,
        &["--secret", "id=f,src=../secret", "--secret", "id=v,env=TOKEN"],
        "FROM busybox\nRUN --mount=type=secret,id=f --mount=type=secret,id=v,target=/etc/v,mode=0444,uid=7,gid=8 \
         cat /run/secrets/f /etc/v | wc -c > /seen; stat -c '%a %u:%g' /run/secrets/f /etc/v >> /seen; ! echo x > /etc/v\n\
         RUN --mount=type=secret,id=f,env=TOK sh -c 'echo ${#TOK}; ls /run; true' >> /seen 2>&1\n\
         RUN --mount=type=secret,id=f,env=TOK,target=/t sh -c 'echo ${#TOK}; wc -c < /t' >> /seen; env | grep -c TOK >> /seen\n\
         RUN env | grep -c -E 'TOK|from' >> /seen; ls /run /etc/v /t >> /seen 2>&1; true\n",
    )
    .success();
        assert_eq!(
            in_image(&bench, "cat /seen"),
            "31\n400 0:0\n444 7:8\n11\nls: /run: No such file or directory\n11\n11\n1\n0\n\
         ls: /run: No such file or directory\nls: /etc/v: No such file or directory\nls: /t: No such file or directory\n"
        );
    });
}

/// T158, A121: another secret runs nothing again.
#[test]
fn another_secret_is_no_other_step() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=s sha256sum /run/secrets/s | cut -c1-8 > /seen\n";
    for text in ["one", "two"] {
        bench.file("../secret", text);
        build(&bench, &["--secret", "id=s,src=../secret"], dockerfile).success();
    }
    let seen = in_image(&bench, "cat /seen");
    assert_eq!(seen, "7692c3ad\n", "the first secret's");
    assert_eq!(build(&bench, &[], dockerfile).success().stderr.matches("CACHED").count(), 2);
}

/// T158 and A20: what a secret says is in no file, name, log or line that a build leaves or prints, whatever becomes of it.
#[test]
fn a_secret_is_nowhere_after_its_step() {
    each_caller(|caller| {
        let Some((mut bench, _registry)) = caller.busybox() else { return };
        bench.set("TOKEN", SECRET);
        let options = ["--secret", "id=s,env=TOKEN", "--metadata-file", "meta", "--progress", "plain"];
        let mounts = "--mount=type=secret,id=s --mount=type=secret,id=s,env=TOK --mount=type=secret,id=s,target=/a/b/c,mode=0444";
        let check = |output: &Output, what: &str| {
            assert!(!output.stderr.contains(SECRET) && !output.out().contains(SECRET), "{what}: {}", output.stderr);
            for place in [bench.store(), bench.work(), bench.path("tmp"), bench.path("home")] {
                assert_eq!(with_secret(&place), Vec::<PathBuf>::new(), "{what}");
            }
        };
        let made = build(
            &bench,
            &options,
            format!(
                "FROM busybox\nRUN {mounts} test \"$TOK\" = \"$(cat /run/secrets/s)\" && cp /a/b/c /dev/shm/c && echo used > /used\n"
            ),
        );
        made.success();
        check(&made, "a build");
        let shown = bench.run(["history", "--no-trunc", "made"]).success().out()
            + &bench.run(["inspect", "made"]).success().out();
        assert!(!shown.contains(SECRET), "{shown}");
        bench.run(["save", "-o", "saved.tar", "made"]).success();
        let failed = build(&bench, &options, format!("FROM busybox\nRUN {mounts} false\n"));
        failed.exit(1);
        check(&failed, "a failed step");
        for (ends, code) in [("true", 0), ("false", 1)] {
            let says = format!("RUN {mounts} echo \"it is $TOK.\"; cat /run/secrets/s >&2; {ends}");
            let told = build(&bench, &options, format!("FROM busybox\n{says}\n"));
            assert!(told.exit(code).stderr.contains("it is ****."), "{told}");
            check(&told, "a step that prints it");
        }
        bench.file("Dockerfile", format!("FROM busybox\nRUN {mounts} touch /started && sleep 600\n"));
        let mut killed = bench.spawn(["build", "."].iter().chain(&options));
        let began = Instant::now();
        let is_started = || {
            let owners = fs::read_dir(bench.store().join("tmp")).into_iter().flatten().flatten();
            owners
                .flat_map(|owner| fs::read_dir(owner.path()).into_iter().flatten().flatten())
                .any(|work| work.path().join("diff/started").exists())
        };
        while !is_started() {
            assert!(began.elapsed() < Duration::from_secs(30), "the step starts");
            std::thread::sleep(Duration::from_millis(10));
        }
        for place in [bench.store(), bench.path("tmp")] {
            assert_eq!(with_secret(&place), Vec::<PathBuf>::new(), "while the step runs");
        }
        killed.kill().unwrap();
        killed.wait().unwrap();
        let after = bench.run(["store", "check"]);
        after.success();
        check(&after, "a killed build");
        assert_eq!(leaks::mounts(&bench.store()), Vec::<String>::new());
    });
}

/// What the commands about a build say of it afterwards: secrets that it mounted, arguments whose names say what they are, and
/// passwords in addresses are in none of it.
#[test]
fn what_is_said_of_a_build_afterwards_has_no_secret() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    bench.set("TOKEN", SECRET);
    let (token, proxy) = (format!("API_TOKEN={SECRET}"), format!("http_proxy=http://me:{SECRET}@127.0.0.1:9/"));
    let mirror = format!("MIRROR=https://me:{SECRET}@mirror.example/");
    let args = ["--build-arg", &token, "--build-arg", &proxy, "--build-arg", &mirror, "--secret", "id=s,env=TOKEN"];
    let steps = "FROM busybox\nARG API_TOKEN\nARG MIRROR\n\
                 RUN --mount=type=secret,id=s cat /run/secrets/s; test -n \"$API_TOKEN\" && test -n \"$MIRROR\"\n";
    build(&bench, &args, steps).success();
    let changed = steps.replace("cat ", "cat  ");
    build(&bench, &args, format!("{changed}RUN false\n")).exit(1);
    let commands: [&[&str]; 9] = [
        &["explain", "--format", "json"],
        &["builds", "show"],
        &["builds", "show", "--format", "json"],
        &["builds", "show", "--file"],
        &["builds", "logs"],
        &["builds", "trace"],
        &["report", "-o", "report.html"],
        &["graph", "-o", "graph.svg"],
        &["debug", "--export", "state.tar"],
    ];
    for command in commands {
        let output = bench.run(command);
        assert!(!(output.success().out() + &output.stderr).contains(SECRET), "{command:?}: {output}");
    }
    assert!(bench.run(["builds", "logs"]).success().out().contains("****"), "the secret was printed");
    bench.run(["advise", "^1"]).success();
    assert_eq!(with_secret(&bench.work()), Vec::<PathBuf>::new());
    let again = bench.run(["debug", "--export", "again.tar"]);
    again
        .success()
        .complains("note: the value of `API_TOKEN` is not in the bundle: it may be a secret")
        .complains("note: the address in `MIRROR` has no password in the bundle");
    bench.file("Dockerfile", format!("FROM busybox\nRUN : https://me:{SECRET}@mirror.example/; false\n"));
    bench.run(["build", "."]).exit(1);
    bench.run(["debug", "--export", "command.tar"]).success().complains("an address in the command has no password");
    let script = format!("RUN <<EOF\n#!/bin/sh\n: https://me:{SECRET}@mirror.example/\nfalse\nEOF\n");
    bench.file("Dockerfile", format!("FROM busybox\n{script}"));
    bench.run(["build", "."]).exit(1);
    let script = bench.run(["debug", "--export", "script.tar"]);
    script.success().complains("note: an address in a script of the command has no password in the bundle");
    assert_eq!(with_secret(&bench.work()), [bench.work().join("Dockerfile")]);
}

/// A20: neither what a build says about itself nor what it keeps for others has a secret; while its step runs nobody but
/// the step has it, and only its user may read it.
#[test]
fn a_secret_is_in_nothing_that_a_build_gives_away() {
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
        // Outside of what is looked through, as a file of the caller's is.
        let outside = tempfile::tempdir().expect("a directory");
        fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let source = outside.path().join("secret");
        fs::write(&source, SECRET).unwrap();
        let secret = format!("id=s,src={}", source.display());
        let token = bench.token();
        let mounts = "--mount=type=secret,id=s --mount=type=secret,id=s,target=/t,uid=7,mode=0440";
        let dockerfile = format!(
            "FROM busybox\nRUN {mounts} stat -c '%a:%u' /run/secrets/s /t > /modes && cat /t | wc -c && : > /ready; \
             : {token}; i=0; while test $i -lt 30 && test -e /run/secrets/s; do i=$((i+1)); sleep 0.1; done\n\
             RUN ! test -e /run/secrets/s && ! test -e /t && ! grep -r never-to-be-seen /run /tmp /dev/shm /proc/self/environ\n"
        );
        bench.file("Dockerfile", dockerfile);
        let child = bench.spawn([
            "build",
            "-t",
            "made",
            "--progress=rawjson",
            "--metadata-file=meta",
            "--provenance=mode=max",
            "--sbom",
            "--secret",
            &secret,
            "--output=type=oci,dest=image.tar",
            "--cache-to=type=local,dest=cache,mode=max",
            "--iidfile=id",
            ".",
        ]);
        let pid = child.id();
        let began = Instant::now();
        let runs = || leaks::processes(token).iter().any(|line| line.contains("while test"));
        while !runs() {
            assert!(began.elapsed() < Duration::from_secs(30), "the step starts");
            std::thread::sleep(Duration::from_millis(10));
        }
        for process in leaks::processes(token) {
            let number = process.split(' ').next().unwrap();
            for file in ["cmdline", "environ"] {
                let text = fs::read(format!("/proc/{number}/{file}")).unwrap_or_default();
                assert!(!String::from_utf8_lossy(&text).contains(SECRET), "{file} of {process}");
            }
        }
        assert!(leaks::processes(token).iter().any(|line| line.starts_with(&format!("{pid} "))));
        let output = bench.wait(child);
        output.success();
        assert!(!output.stderr.contains(SECRET) && !output.out().contains(SECRET));
        for kept in ["meta", "image.tar", "cache/index.json"] {
            assert!(bench.work().join(kept).exists(), "{kept}");
        }
        for place in [bench.store(), bench.work(), bench.path("tmp"), bench.path("home"), bench.path("run")] {
            assert_eq!(with_secret(&place), Vec::<PathBuf>::new());
        }
        let layers = unpacked(&bench.work().join("cache/blobs/sha256"));
        let has = |text: &str| layers.iter().any(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()));
        assert!(has("400:0\n440:7\n"), "the layers are looked into");
        assert!(!has(SECRET));
    });
}

/// The compressed files of a directory as they were.
fn unpacked(directory: &Path) -> Vec<Vec<u8>> {
    let files =
        fs::read_dir(directory).expect("written").map(|entry| fs::read(entry.expect("read").path()).expect("read"));
    let unpacked = |bytes: Vec<u8>| {
        let mut whole = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut whole).ok().map(|_| whole)
    };
    files.filter_map(unpacked).collect()
}

/// T159: the socket is where it should be, with its mode, and the id says which agent is behind it.
#[test]
fn an_agent_is_behind_a_socket_of_the_step() {
    each_caller(|caller| {
        let Some((mut bench, _registry)) = caller.busybox() else { return };
        let socket = bench.path("agent");
        let _agent = UnixListener::bind(&socket).unwrap();
        bench.set("SSH_AUTH_SOCK", &socket);
        let other = format!("other={}", socket.display());
        build(
        &bench,
        &["--ssh", "default", "--ssh", &other],
        "FROM busybox\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK > /seen && stat -c '%a %u:%g' $SSH_AUTH_SOCK >> /seen\n\
         RUN --mount=type=ssh,id=other,required=true,target=/agent,mode=0666,uid=5,gid=6 stat -c '%a %u:%g' $SSH_AUTH_SOCK >> /seen\n\
         RUN --mount=type=ssh,id=none test ! -e /run/buildkit\n\
         RUN echo ${SSH_AUTH_SOCK-unset} >> /seen; ls -d /run/buildkit /agent 2> /dev/null; true\n",
    )
    .success();
        assert_eq!(in_image(&bench, "cat /seen"), "/run/buildkit/ssh_agent.0\n600 0:0\n666 5:6\nunset\n");
    });
}

/// T160 and T161: what is allowed is given, to the step that asks for it and to no other.
#[test]
fn what_is_allowed_is_given_to_the_step_that_asks() {
    if needs::root().is_none() {
        return;
    }
    let Some((bench, _registry)) = with_busybox() else { return };
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let full = own.lines().find(|line| line.starts_with("CapEff:")).unwrap().to_owned();
    build(
        &bench,
        &["--allow", "security.insecure", "--allow", "network.host"],
        "FROM busybox\nRUN --security=insecure grep CapEff: /proc/self/status > /seen; mkdir /m && mount -t tmpfs none /m && umount /m && echo mounted >> /seen\n\
         RUN grep CapEff: /proc/self/status >> /seen; mount -t tmpfs none /m 2> /dev/null || echo refused >> /seen\n\
         RUN --network=host true\n",
    )
    .success();
    assert_eq!(in_image(&bench, "cat /seen"), format!("{full}\nmounted\nCapEff:\t00000000a80425fb\nrefused\n"));
}

/// A163: a device that the host describes reaches the step that names it, if the caller allows that one, its class or all.
#[test]
fn a_described_device_reaches_the_step_that_names_it() {
    let (Some(()), Some((mut bench, _registry))) = (stave_testkit::needs::root(), with_busybox()) else { return };
    let dirs = bench.path("cdi");
    std::fs::create_dir(&dirs).expect("a writable bench");
    let spec = "cdiVersion: 0.6.0\nkind: vendor.com/tape\ndevices:\n- name: one\n  containerEdits:\n    env: [TAPE=one]\n    \
                deviceNodes:\n    - {path: /dev/tape, hostPath: /dev/zero}\n";
    std::fs::write(dirs.join("tape.yaml"), spec).expect("a writable bench");
    bench.set("STAVE_CDI_DIRS", &dirs);
    let dockerfile = "FROM busybox\nRUN --device=vendor.com/tape=one echo $TAPE $(head -c 2 /dev/tape | od -An -tx1) > /r\n\
                      RUN test ! -e /dev/tape\n";
    let refused = build(&bench, &[], dockerfile);
    refused.exit(1).complains("`RUN --device=vendor.com/tape=one` is not allowed");
    refused.complains("--allow device=vendor.com/tape=one");
    build(&bench, &["--allow", "device=vendor.com/tape=two"], dockerfile).exit(1);
    for allowed in ["device=vendor.com/tape=one", "device=vendor.com/tape", "device"] {
        build(&bench, &["--no-cache", "--allow", allowed], dockerfile).success();
        assert_eq!(in_image(&bench, "cat /r"), "one 00 00\n");
    }
    let missing = "FROM busybox\nRUN --device=vendor.com/tape=none,required true\n";
    build(&bench, &["--allow", "device"], missing).exit(1).complains("there is no device `vendor.com/tape=none`");
    let optional = "FROM busybox\nRUN --device=vendor.com/tape=none true\n";
    build(&bench, &["--allow", "device"], optional).success();
}

/// T142 and T162: limits, sizes and names reach the step; they decide whether it runs again, addresses do not.
#[test]
fn limits_sizes_and_names_reach_every_step() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let dockerfile = "FROM busybox\nRUN ulimit -n > /seen; df -k /dev/shm | tail -1 | awk '{print $2}' >> /seen; grep -w one /etc/hosts >> /seen; true\n";
    let options = ["--ulimit", "nofile=62:106", "--shm-size", "128m", "--add-host", "one:192.0.2.1"];
    build(&bench, &options, dockerfile).success();
    assert_eq!(in_image(&bench, "cat /seen; ! grep -w one /etc/hosts"), "62\n131072\n192.0.2.1\tone\n");
    let cached = |options: &[&str]| build(&bench, options, dockerfile).success().stderr.matches("CACHED").count() == 2;
    assert!(cached(&options));
    assert!(
        cached(&["--ulimit", "nofile=62:106", "--shm-size", "128m", "--add-host", "one:192.0.2.2"]),
        "another address"
    );
    assert!(
        !cached(&["--ulimit", "nofile=62:106", "--shm-size", "128m", "--add-host", "two:192.0.2.1"]),
        "another name"
    );
    assert!(
        !cached(&["--ulimit", "nofile=63:106", "--shm-size", "128m", "--add-host", "one:192.0.2.1"]),
        "another limit"
    );
    assert!(
        !cached(&["--ulimit", "nofile=62:106", "--shm-size", "64m", "--add-host", "one:192.0.2.1"]),
        "another size"
    );
    build(&bench, &["--ulimit", "nofile=-1"], dockerfile).complains("cannot set limit `nofile` to unlimited:unlimited");
}

/// T162: a step runs in a group below the one that is named, which is gone after it. B040.
#[test]
fn a_step_runs_in_its_cgroup() {
    if needs::root().is_none() {
        return;
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let unified = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    let Some(unified) = unified else { return needs::skipped("no unified cgroup hierarchy") };
    let Some((bench, _registry)) = with_busybox() else { return };
    let parent = format!("stave-test-{}", std::process::id());
    let directory = Path::new(unified).join(&parent);
    if fs::create_dir(&directory).is_err() {
        return needs::skipped("the cgroup hierarchy cannot be written");
    }
    bench.file("Dockerfile", "FROM busybox\nRUN i=0; while [ $i -lt 100 ]; do i=$((i+1)); sleep 0.1; done\n");
    let build = bench.spawn(["build", "--cgroup-parent", &parent, "."]);
    let began = Instant::now();
    let is_used = || {
        let groups = fs::read_dir(&directory).into_iter().flatten().flatten();
        groups
            .into_iter()
            .any(|group| fs::read_to_string(group.path().join("cgroup.procs")).is_ok_and(|text| !text.is_empty()))
    };
    while !is_used() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(is_used(), "the step is in a group of its own");
    bench.wait(build).success();
    // Empty again, or this fails.
    fs::remove_dir(&directory).unwrap();
}
