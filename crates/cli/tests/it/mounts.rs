//! `RUN --mount` and what else a step may be given.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::callers::each_caller;
use stave_testkit::bench::Bench;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::output::Output;
use stave_testkit::{leaks, needs};

/// Builds a Dockerfile as image `made`.
fn build(bench: &Bench, dockerfile: impl AsRef<str>) -> Output {
    bench.file("Dockerfile", dockerfile.as_ref());
    bench.run(["build", "-t", "made", "."])
}

/// A path in the directory that is the context.
fn at(bench: &Bench, path: &str) -> PathBuf {
    bench.work().join(path)
}

/// What a shell line prints in image `made`.
fn in_image(bench: &Bench, line: &str) -> String {
    bench.run(["run", "--rm", "made", "sh", "-c", &format!("{line}; true")]).success().out()
}

/// T146 and T158: a bind shows the context without what is ignored; what a step writes there is in nothing that follows.
#[test]
fn a_bind_of_the_context_can_be_written_and_is_thrown_away() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("src/a", "one\n").file("src/ignored", "x").file(".dockerignore", "src/ignored\n");
    let dockerfile = "FROM busybox\nRUN --mount=target=/in,rw cat /in/src/a > /seen; ls -A /in/src >> /seen; echo changed > /in/src/a; echo > /in/new\n\
                      RUN --mount=source=src,target=/in ls -A /in > /later; cat /in/a >> /later; echo x > /in/a || echo read-only >> /later\n\
                      RUN --mount=type=bind,source=src/a,target=/file cat /file > /one; stat -c %u:%g /file >> /one\n";
    build(&bench, dockerfile).success();
    let seen = in_image(&bench, "cat /seen /later /one; ls -d /in /file 2>&1");
    assert_eq!(
        seen,
        "one\na\na\none\nread-only\none\n0:0\nls: /in: No such file or directory\nls: /file: No such file or directory\n"
    );
    assert_eq!(fs::read_to_string(at(&bench, "src/a")).unwrap(), "one\n");
    assert!(!at(&bench, "new").exists());
    // Nothing has changed, so nothing runs; then one file, and everything that reads it.
    assert_eq!(build(&bench, dockerfile).success().stderr.matches("CACHED").count(), 4);
    bench.file("src/ignored", "y");
    assert_eq!(build(&bench, dockerfile).success().stderr.matches("CACHED").count(), 4);
    bench.file("src/a", "two\n");
    // All but the base.
    assert_eq!(build(&bench, dockerfile).success().stderr.matches("CACHED").count(), 1);
    assert_eq!(in_image(&bench, "cat /seen"), "two\na\n");
    build(&bench, "FROM busybox\nRUN --mount=source=none,target=/in true\n").exit(1).complains("none");
}

/// T146, A5 (CVE-2024-1753) and A107: a bind of another stage or image is its files, whatever links it has.
#[test]
fn a_bind_of_a_stage_never_leads_out_of_it() {
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
        bench.file("marker", "of the host");
        let marker = at(&bench, "marker");
        build(
        &bench,
        format!(
            "FROM busybox AS base\nRUN ln -s / /rootdir && ln -s {} /out && mkdir /d && echo hello > /d/f\n\
             FROM busybox\n\
             RUN --mount=type=bind,from=base,source=/rootdir,target=/x,rw touch /x/BREAKOUT && cat /x/d/f && ! cat /x/out > /got\n\
             RUN --mount=from=base,source=/d,target=/x cp /x/f /copied && ! touch /x/f\n\
             RUN --mount=from=alpine,target=/other ls /other/bin/busybox > /image\n",
            marker.display()
        ),
    )
    .success();
        assert_eq!(in_image(&bench, "cat /copied /got /image; ls / | grep BREAK"), "hello\n/other/bin/busybox\n");
        assert!(!std::path::Path::new("/BREAKOUT").exists());
        build(
        &bench,
        "FROM busybox AS base\nRUN ln -s /etc/none /l\nFROM busybox\nRUN --mount=from=base,source=/l,target=/x true\n",
    )
    .exit(1)
    .complains("cannot open `l` for the mount on `/x`");
    });
}

/// T155, T145 and A095: what was only there to be mounted on is in no layer, also on an image without any file.
#[test]
fn mount_points_are_in_no_layer() {
    let Some((bench, _registry)) = with_busybox() else { return };
    build(
        &bench,
        "FROM busybox AS tools\nFROM scratch\nCOPY --from=tools /bin/busybox /busybox\n\
         RUN --mount=type=tmpfs,target=/a/b --mount=type=cache,target=/var/cache/x --mount=type=bind,from=tools,target=/tools [\"/busybox\", \"true\"]\n\
         RUN --mount=type=tmpfs,target=/a/b [\"/busybox\", \"sh\", \"-c\", \"/busybox echo > /a/kept\"]\n",
    )
    .success();
    bench.run(["build", "-o", "type=local,dest=out", "."]).success();
    let mut names: Vec<String> = fs::read_dir(at(&bench, "out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a", "busybox"]);
    assert_eq!(fs::read_dir(at(&bench, "out/a")).unwrap().count(), 1);
}

/// T147: a cache is there in the next step and the next build, also with `--no-cache`, and in no image; `prune` removes it.
#[test]
fn a_cache_is_found_again_and_is_in_no_image() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/log\n\
                      RUN --mount=type=cache,target=/c wc -l < /c/log > /lines; ! test -e /c/none\n";
    build(&bench, dockerfile).success();
    assert_eq!(in_image(&bench, "cat /lines; ls -d /c 2>&1"), "1\nls: /c: No such file or directory\n");
    bench.run(["build", "--no-cache", "-t", "made", "."]).success();
    assert_eq!(in_image(&bench, "cat /lines"), "2\n");
    // A step that fails leaves what it wrote.
    build(&bench, "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/log; false\n").exit(1);
    bench.file("Dockerfile", dockerfile);
    bench.run(["build", "--no-cache", "-t", "made", "."]).success();
    assert_eq!(in_image(&bench, "cat /lines"), "4\n");
    bench.run(["store", "check"]).success();
    let usage = bench.run(["store", "usage"]).success().out();
    assert!(usage.lines().any(|line| line.starts_with("cache mounts") && line.contains(" 1 ")), "{usage}");
    let pruned = bench.run(["store", "prune", "--force"]).success().out();
    assert!(pruned.contains(" 1 cache mounts"), "{pruned}");
    bench.run(["build", "--no-cache", "-t", "made", "."]).success();
    assert_eq!(in_image(&bench, "cat /lines"), "1\n");
    bench.run(["store", "check"]).success();
    assert_eq!(leaks::work_files(&bench.store()), Vec::<String>::new());
}

/// T148 and A7 (CVE-2024-9675): the id decides which cache it is, with owner and mode; it is no path.
#[test]
fn caches_are_told_apart_by_id_and_by_owner() {
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
        let above = "../".repeat(12) + bench.work().join("victim").to_str().unwrap();
        bench.file("victim/marker", "of the host");
        build(
        &bench,
        format!(
            "FROM busybox\nRUN --mount=type=cache,target=/one,id=/c echo id > /one/f\n\
             RUN --mount=type=cache,target=/two,id=/c --mount=type=cache,target=/three,id=/c cat /two/f /three/f > /seen\n\
             RUN --mount=type=cache,target=/c ls /c >> /seen\n\
             RUN --mount=type=cache,target=/c,mode=0700 ls /c >> /seen; stat -c %a:%u:%g /c >> /seen; echo mode > /c/m\n\
             RUN --mount=type=cache,target=/c,mode=0700 cat /c/m >> /seen; ! echo > /proc/none\n\
             RUN --mount=type=cache,target=/c,ro ls /c >> /seen; ! touch /c/f\n\
             RUN --mount=type=cache,target=/m,id={above} ls /m >> /seen\n",
        ),
    )
    .success();
        assert_eq!(in_image(&bench, "cat /seen"), "id\nid\nf\n700:0:0\nmode\nf\n");
        for source in ["../../..", "sub"] {
            let line = format!("FROM busybox\nRUN --mount=type=cache,target=/m,source={source},id=new ls /m > /seen\n");
            let outcome = build(&bench, line);
            // What leads above a cache is the cache itself.
            if source == "sub" {
                outcome.exit(1).complains("cannot open `sub` for the mount on `/m`")
            } else {
                outcome.success()
            };
        }
    });
}

/// GHSA-388v-wmr2-g2v2 and T149: a link that a step left in a cache does not lead out of it.
#[test]
fn a_link_in_a_cache_stays_in_the_cache() {
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
        bench.file("victim/hostname", "of the host");
        let victim = bench.work().join("victim");
        let outcome = build(
            &bench,
            format!(
                "FROM busybox\nRUN --mount=type=cache,id=c,target=/cache rm -rf /cache/sel && ln -s {} /cache/sel && ln -s /etc /cache/etc\n\
             RUN --mount=type=cache,id=c,source=sel,target=/v cat /v/hostname\n",
                victim.display()
            ),
        );
        outcome.exit(1).complains("cannot open `sel` for the mount on `/v`");
        assert!(!outcome.stderr.contains("of the host"));
        build(&bench, "FROM busybox\nRUN --mount=type=cache,id=c,source=etc,target=/v cat /v/hostname\n").exit(1);
    });
}

/// T149: the first content of a cache comes from a stage, once.
#[test]
fn a_cache_begins_with_files_of_a_stage() {
    let Some((bench, _registry)) = with_busybox() else { return };
    let dockerfile = "FROM busybox AS seed\nRUN mkdir -p /init && echo seed > /init/f\n\
                      FROM busybox\nRUN --mount=type=cache,target=/c,from=seed,source=/init cat /c/f > /seen; echo more >> /c/f\n";
    build(&bench, dockerfile).success();
    assert_eq!(in_image(&bench, "cat /seen"), "seed\n");
    build(&bench, dockerfile.replace("/seen;", "/seen; true;")).success();
    assert_eq!(in_image(&bench, "cat /seen"), "seed\nmore\n");
}

/// T150: builds at the same time share a cache, wait for each other, or have one each.
#[test]
fn sharing_says_whether_builds_meet_in_a_cache() {
    let Some((bench, _registry)) = with_busybox() else { return };
    build(&bench, "FROM busybox\n").success();
    let start = |name: &str, sharing: &str, line: &str| {
        let text = format!("FROM busybox\nRUN --mount=type=cache,target=/c,id={sharing},sharing={sharing} {line}\n");
        bench.file(name, text);
        bench.spawn(["build", "--no-cache", "-f", name, "-t", name, "."])
    };
    // Each leaves its name and looks for the other's for at most ten seconds.
    let meet = |own: &str, other: &str| {
        format!("touch /c/{own}; for i in $(seq 100); do test -e /c/{other} && exit 0; sleep 0.1; done; exit 7")
    };
    let both = [start("left", "shared", &meet("l", "r")), start("right", "shared", &meet("r", "l"))];
    for build in both {
        bench.wait(build).success();
    }
    // Each finds the mark of the other only if they overlap.
    let alone = "test ! -e /c/busy && touch /c/busy && sleep 0.7 && rm /c/busy";
    for sharing in ["locked", "private"] {
        let began = Instant::now();
        let both = [start("left", sharing, alone), start("right", sharing, alone)];
        for build in both {
            bench.wait(build).success();
        }
        if sharing == "locked" {
            assert!(began.elapsed() >= Duration::from_millis(1400), "they waited: {:?}", began.elapsed());
        }
    }
    let caches = || fs::read_dir(bench.store().join("caches")).unwrap().count();
    assert!(caches() == 3 || caches() == 4, "one each, or two private ones if those overlapped: {}", caches());
    bench.run(["store", "check"]).success();
}

/// A killed build's lock is nobody's.
#[test]
fn a_killed_build_leaves_its_cache_to_others() {
    let Some((bench, _registry)) = with_busybox() else { return };
    build(&bench, "FROM busybox\n").success();
    bench.file("holder", "FROM busybox\nRUN --mount=type=cache,target=/c,sharing=locked touch /c/mine && sleep 600\n");
    let mut holder = bench.spawn(["build", "-f", "holder", "."]);
    let caches = bench.store().join("caches");
    let began = Instant::now();
    let is_held = || {
        let names = fs::read_dir(&caches).into_iter().flatten().flatten();
        names.into_iter().any(|entry| entry.path().join("diff/data/mine").exists())
    };
    while !is_held() {
        assert!(began.elapsed() < Duration::from_secs(30), "the step takes its cache");
        std::thread::sleep(Duration::from_millis(10));
    }
    // What is in use is not pruned.
    bench.run(["store", "prune", "--all", "--force"]).success();
    assert!(is_held());
    holder.kill().unwrap();
    holder.wait().unwrap();
    build(&bench, "FROM busybox\nRUN --mount=type=cache,target=/c,sharing=locked ls /c > /seen\n").success();
    assert_eq!(in_image(&bench, "cat /seen"), "mine\n");
    bench.run(["store", "check"]).success();
}

/// Whoever waits for a cache says so and can be interrupted.
#[test]
fn a_build_that_waits_for_a_cache_says_so_and_can_be_interrupted() {
    let Some((bench, _registry)) = with_busybox() else { return };
    build(&bench, "FROM busybox\n").success();
    let line = "--mount=type=cache,target=/c,sharing=locked";
    bench.file("holder", format!("FROM busybox\nRUN {line} touch /c/mine && sleep 600\n"));
    let mut holder = bench.spawn(["build", "-f", "holder", "."]);
    let began = Instant::now();
    while !fs::read_dir(bench.store().join("caches"))
        .is_ok_and(|mut names| names.any(|entry| entry.is_ok_and(|entry| entry.path().join("diff/data/mine").exists())))
    {
        assert!(began.elapsed() < Duration::from_secs(30), "the step takes its cache");
        std::thread::sleep(Duration::from_millis(10));
    }
    bench.file("waiter", format!("FROM busybox\nRUN {line} true\n"));
    let mut waiter = bench.spawn(["build", "-f", "waiter", "."]);
    Bench::hear(waiter.stderr.as_mut().unwrap(), "waiting for cache `/c`, which another step uses");
    let pid = rustix::process::Pid::from_child(&waiter);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let began = Instant::now();
    bench.wait(waiter).exit(130);
    assert!(began.elapsed() < Duration::from_secs(5), "it ends at once");
    holder.kill().unwrap();
    holder.wait().unwrap();
    bench.run(["store", "check"]).success();
}

/// T151 and T153: file systems in memory have their size; a root is no target.
#[test]
fn a_tmpfs_is_limited_and_gone() {
    let Some((bench, _registry)) = with_busybox() else { return };
    build(
        &bench,
        "FROM busybox\nWORKDIR /w\nRUN --mount=type=tmpfs,target=t,size=1m dd if=/dev/zero of=/w/t/x bs=1k count=2048 2> /said; ls -s /w/t > /seen; true\n",
    )
    .success();
    assert_eq!(in_image(&bench, "grep -c 'No space left' /said; ls /w"), "1\n");
    for (target, why) in [("/", "root"), ("/proc/x", "cannot mount on `/proc/x`"), ("/dev", "cannot mount on `/dev`")] {
        build(&bench, format!("FROM busybox\nRUN --mount=type=tmpfs,target={target} true\n")).complains(why);
    }
}

/// A8 (CVE-2024-23652): moving what is above a mount point deletes nothing on the host.
#[test]
fn moving_the_directory_of_a_mount_harms_nobody() {
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
        bench.file("victim", "");
        let host = bench.work();
        build(
            &bench,
            format!(
                "FROM busybox\nRUN --mount=type=tmpfs,target=/p/victim mv /p /q; ln -s {} /p; true\n\
             FROM busybox\nRUN ln -s {} /p\nRUN --mount=type=tmpfs,target=/p/victim touch /p/victim/x\n",
                host.display(),
                host.display()
            ),
        )
        .success();
        assert!(at(&bench, "victim").is_file());
    });
}

/// A6 (CVE-2024-23651 and CVE-2024-11218): a part of a cache that is swapped for a link while it is mounted is never
/// something else than a part of the cache.
#[test]
fn a_part_of_a_cache_that_is_swapped_while_it_is_mounted_is_nothing_else() {
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
        build(&bench, "FROM busybox\n").success();
        bench.file("victim/hostname", "of the host");
        let victim = bench.work().join("victim");
        bench.file(
        "swapper",
        format!(
            "FROM busybox\nRUN --mount=type=cache,id=x,target=/c for i in $(seq 4000); do rm -rf /c/s; ln -s {} /c/s; rm -rf /c/s; mkdir /c/s; done\n",
            victim.display()
        ),
    );
        let swapper = bench.spawn(["build", "--no-cache", "-f", "swapper", "."]);
        for number in 0..30 {
            let line = "--mount=type=cache,id=x,source=s,target=/v";
            let outcome = build(&bench, format!("FROM busybox\nRUN {line} cat /v/hostname; echo {number}\n"));
            assert!(!outcome.stderr.contains("of the host"), "{}", outcome.stderr);
        }
        bench.wait(swapper).success();
        // The same within one build, by two stages that run side by side.
        let swap = format!(
            "for i in $(seq 1000); do rm -rf /c/s; ln -s {0} /c/s; rm -rf /c/s; mkdir /c/s; done",
            victim.display()
        );
        let read = "RUN --mount=type=cache,id=y,source=s,target=/v cat /v/hostname; true\n";
        let reads = read.repeat(8);
        bench.file(
            "Dockerfile",
            format!(
                "FROM busybox AS swap\nRUN --mount=type=cache,id=y,target=/c mkdir -p /c/s && touch /ready && {swap}\n\
                 FROM busybox AS read\n{reads}FROM busybox\nCOPY --from=swap /ready /\nCOPY --from=read /bin/true /\n"
            ),
        );
        for _ in 0..10 {
            let outcome = bench.run(["build", "--no-cache", "-t", "made", "."]);
            assert!((0..=3).contains(&outcome.code), "{outcome}");
            assert!(!outcome.stderr.contains("of the host"), "{}", outcome.stderr);
        }
        assert_eq!(fs::read_to_string(victim.join("hostname")).unwrap(), "of the host");
        // The lasting case, without a race.
        symlink(&victim, at(&bench, "link")).unwrap();
        build(&bench, "FROM busybox\nRUN --mount=target=/in ! cat /in/link/hostname\n").success();
    });
}

/// T156: a secret that is missing is an error only where it is required.
#[test]
fn a_missing_secret_is_an_error_only_if_it_is_required() {
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
        build(
            &bench,
            "FROM busybox\nRUN --mount=type=secret,id=s ! test -e /run/secrets/s && ! test -e /run/secrets\n",
        )
        .success();
        build(&bench, "FROM busybox\nRUN --mount=type=secret,id=s,env=TOK test \"${TOK-none}\" = \"\"\n")
            .success()
            .complains("secret `s` is not given, so `TOK` is empty, and not unset");
        build(&bench, "FROM busybox\nRUN --mount=type=secret,id=s,required=true echo needed\n")
            .exit(1)
            .complains("the step needs secret `s`")
            .complains("--secret id=s,src=FILE");
        build(&bench, "FROM busybox\nRUN --mount=type=ssh true\n").success();
        build(&bench, "FROM busybox\nRUN --mount=type=ssh,required=true echo needed\n")
            .exit(1)
            .complains("the step needs SSH agent `default`");
    });
}

/// T160, T161, A12 and CVE-2024-23653: rights come from the command line, never from the Dockerfile. B025.
#[test]
fn more_rights_than_a_sandbox_has_are_refused_unless_they_are_allowed() {
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
        build(&bench, "FROM busybox\nRUN --security=insecure true\n")
            .exit(1)
            .complains("`RUN --security=insecure` is not allowed")
            .complains("--allow security.insecure");
        build(&bench, "FROM busybox\nRUN --security=sandbox grep CapEff /proc/self/status > /caps\n").success();
        assert_eq!(in_image(&bench, "cat /caps"), "CapEff:\t00000000a80425fb\n");
        // What an earlier build has made does not allow it, and nothing runs before it is refused.
        build(&bench, "FROM busybox\nRUN true\n").success();
        let refused = build(&bench, "FROM busybox\nRUN echo first\nRUN --network=host true\n");
        refused.exit(1).complains("--allow network.host");
        let began = refused.stderr.lines().any(|line| line.starts_with('#') && line.ends_with("RUN echo first"));
        assert!(!began, "{}", refused.stderr);
        build(&bench, "FROM busybox\nRUN --network=host true\n").exit(1).complains("--allow network.host");
        build(&bench, "FROM busybox\nRUN --device=vendor.com/class=one true\n").exit(1).complains("--allow device");
    });
}

/// A12: neither the environment, nor what a base image triggers, nor a result that another build had made, nor an argument
/// allows anything, and what is no word of the language is not taken for one.
#[test]
fn no_other_way_than_the_command_line_allows_anything() {
    each_caller(|caller| {
        let Some((mut bench, _registry)) = caller.busybox() else { return };
        for name in
            ["STAVE_ALLOW", "BUILDKIT_ALLOW", "BUILDX_ALLOW", "BUILDKIT_ENTITLEMENTS", "BUILDX_BAKE_ENTITLEMENTS_FS"]
        {
            bench.set(name, "security.insecure,network.host,device");
        }
        let host = "FROM busybox\nRUN --network=host echo with-the-host > /made\n";
        bench.file("Dockerfile", host);
        bench
            .run(["build", "--allow", "network.host", "-t", "made", "--cache-to", "type=local,dest=kept", "."])
            .success();
        build(&bench, host).exit(1).complains("`RUN --network=host` is not allowed");
        let elsewhere = bench.path("other-store");
        let mut imported = bench.command(["build", "--cache-from", "type=local,src=kept", "."]);
        imported.env("STAVE_ROOT", &elsewhere);
        bench.finish(imported).exit(1).complains("`RUN --network=host` is not allowed");
        for argument in
            ["--build-arg=N=host", "--build-arg=BUILDKIT_SANDBOX_HOSTNAME=x", "--build-arg=BUILDKIT_ALLOW=network.host"]
        {
            build(&bench, "FROM busybox\nARG N=host\nRUN --network=$N true\n").exit(2);
            bench.file("Dockerfile", host);
            bench.run(["build", argument, "."]).exit(1);
        }
        build(&bench, "FROM busybox\nONBUILD RUN --security=insecure true\nONBUILD RUN --network=host true\n")
            .success();
        build(&bench, "FROM made\n").exit(1).complains("is not allowed");
        for word in [
            "--security=2",
            "--security=",
            "--security=INSECURE",
            "--security=sandbox,insecure",
            "--security=unconfined",
            "--network=2",
            "--network=container:x",
            "--network=HOST",
            "--network=host,none",
            "--device=",
        ] {
            let outcome = build(&bench, format!("FROM busybox\nRUN {word} true\n"));
            assert!((1..=2).contains(&outcome.code), "{word}: {outcome}");
        }
        for allowed in ["security.INSECURE", "2", "all", "*", ""] {
            bench.file("Dockerfile", host);
            bench.run(["build", "--allow", allowed, "."]).exit(2);
        }
    });
}

/// A7 (CVE-2024-9407): the options of a mount are a closed list, for each type its own.
#[test]
fn a_mount_has_no_options_but_its_own() {
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
        for (options, message) in [
            ("type=bind,from=busybox,source=/,target=/v,rw,bind-propagation=suid", "bind-propagation"),
            ("type=bind,target=/v,propagation=shared", "propagation"),
            ("type=cache,target=/v,relabel=shared", "relabel"),
            ("type=bind,target=/v,relabel=all", "relabel"),
            ("type=bind,target=/v,noexec=true", "mount option `noexec` takes no value"),
            ("type=bind,target=/v,no-dereference=true", "mount option `no-dereference` takes no value"),
            ("type=cache,target=/v,no-dereference", "mounts of type `cache` have no option `no-dereference`"),
            ("type=cache,target=/v,suid", "suid"),
            ("type=cache,target=/v,size=1m", "size"),
            ("type=tmpfs,target=/v,source=/etc", "source"),
            ("type=secret,target=/v,sharing=private", "sharing"),
            ("type=ssh,target=/v,from=busybox", "from"),
            ("type=volume,target=/v", "volume"),
            ("type=,target=/v", "type"),
            ("type=cache,target=/v,sharing=all", "sharing"),
            ("type=cache,target=/v,mode=8", "mode"),
            ("type=cache,target=/v,uid=-1", "uid"),
            ("target", "target"),
        ] {
            let outcome = build(&bench, format!("FROM busybox\nRUN --mount={options} pwd\n"));
            outcome.exit(2).complains(message);
            assert!(outcome.stderr.contains("Dockerfile:2:"), "{options}: {outcome}");
        }
    });
}

/// A script of a heredoc that names its interpreter is run by that, from outside of every layer.
#[test]
fn a_script_of_a_heredoc_is_in_no_layer() {
    let Some((bench, _registry)) = with_busybox() else { return };
    build(&bench, "FROM busybox\nRUN <<EOF\n#!/bin/busybox sh\necho $0 > /seen\nEOF\n").success();
    assert_eq!(
        in_image(&bench, "cat /seen; ls -A /dev/pipes 2>&1"),
        "/dev/pipes/EOF\nls: /dev/pipes: No such file or directory\n"
    );
}

/// Without root everything is the same, with many ids and with one.
#[test]
fn users_have_the_same_mounts_as_root() {
    for kind in ["ranges", "single"] {
        let Some(user) = needs::user(kind) else { continue };
        let Some((bench, _registry)) = with_busybox() else { return };
        bench.file("src/a", "one\n").file(
            "Dockerfile",
            "FROM busybox AS base\nRUN ln -s /d /link && mkdir /d && echo stage > /d/f\nFROM busybox\n\
             RUN --mount=target=/in,rw --mount=from=base,source=link,target=/stage --mount=type=cache,target=/var/cache/x,sharing=locked \
             --mount=type=tmpfs,target=/t --mount=type=tmpfs,target=/in/src/made cat /in/src/a /stage/f > /seen && \
             echo x > /in/src/a && echo x > /in/src/made/x && echo x > /var/cache/x/kept && echo x > /t/x && ls -d /in/src/made >> /seen\n\
             RUN --mount=type=cache,target=/var/cache/x --mount=from=base,target=/b,rw ls /var/cache/x >> /seen; touch /b/d/g; ls /b/d >> /seen\n",
        );
        let bench = bench.as_user(&user);
        bench.run(["build", "-t", "made", "."]).success();
        assert_eq!(
            in_image(&bench, "cat /seen; ls -d /in /t /b 2> /dev/null"),
            "one\nstage\n/in/src/made\nkept\nf\ng\n",
            "{kind}"
        );
        assert_eq!(fs::read_to_string(at(&bench, "src/a")).unwrap(), "one\n");
        bench.run(["build", "--no-cache", "-t", "made", "."]).success();
        bench.run(["store", "check"]).success();
        bench.run(["store", "prune", "--all", "--force"]).success();
        bench.run(["store", "check"]).success();
        assert_eq!(leaks::work_files(&bench.store()), Vec::<String>::new());
    }
}

/// A109: what Buildah knows of binds beside BuildKit.
#[test]
fn binds_have_the_options_that_buildah_has() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("tool", "#!/bin/sh\necho ran\n").file("d/f", "x");
    std::fs::set_permissions(at(&bench, "tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("our file");
    let dockerfile = "FROM busybox AS files\nRUN mkdir /d && echo > /d/of-root\nFROM busybox\n\
         RUN mkdir -p /etc /tmp && echo seven:x:7:7::/:/bin/sh >> /etc/passwd && chmod 1777 /tmp && touch /out\n\
         RUN --mount=source=tool,target=/tool,noexec,nosuid,nodev /tool > /out 2>&1 || echo denied > /out\n\
         RUN --mount=source=tool,target=/tool,bind-propagation=rprivate,bind-nonrecursive,consistency=cached /tool >> /out\n\
         RUN --mount=type=tmpfs,target=/t,noexec cp /bin/busybox /t/true && /t/true || echo denied too >> /out\n\
         RUN --mount=type=cache,target=/c,noexec cp /bin/busybox /c/true && /c/true || echo denied three >> /out\n\
         USER seven\n\
         RUN --mount=source=d,target=/mine,U,rw stat -c %u:%g /mine /mine/f > /tmp/own && echo changed > /mine/f\n\
         RUN --mount=from=files,source=/d,target=/mine,U stat -c %u:%g /mine/of-root >> /tmp/own\n\
         RUN --mount=from=files,source=/d,target=/theirs stat -c %u:%g /theirs/of-root >> /tmp/own\n";
    build(&bench, dockerfile).success();
    let seen = in_image(&bench, "cat /out /tmp/own");
    assert_eq!(seen, "denied\nran\ndenied too\ndenied three\n7:7\n7:7\n7:7\n0:0\n");
    assert_eq!(fs::read_to_string(at(&bench, "d/f")).expect("it is there"), "x");
    let built = build(&bench, "FROM busybox\nRUN --mount=source=d,target=/d,Z,shared ls /d | sed s/^/got-/\n");
    built.complains("got-f");
    built.success().complains("mount option `z` changes nothing: steps have no SELinux label");
    built.complains("mount option `shared` changes nothing: what a step mounts is seen by nobody else");
}

/// A109: a link that is not to be followed is mounted itself, and only what it says is what the step has seen.
#[test]
fn a_link_that_is_not_to_be_followed_is_mounted_itself() {
    each_caller(|caller| {
        let Some((bench, _registry)) = caller.busybox() else { return };
        bench.file("real", "of the context").file("d/f", "in d");
        for (target, link) in [("real", "link"), ("d", "dlink"), ("../real", "d/up"), ("/nowhere", "dangling")] {
            symlink(target, at(&bench, link)).expect("our directory");
        }
        let dockerfile = "FROM busybox AS files\nRUN mkdir /s && ln -s /real /s/l && ln -s s /t\nFROM busybox\n\
             RUN echo of the image > /real && echo > /there\n\
             RUN --mount=source=link,target=/x,no-dereference readlink /x > /out && cat /x >> /out\n\
             RUN --mount=source=link,target=/x cat /x >> /out && echo >> /out\n\
             RUN --mount=source=dlink/up,target=/a/b/x,no-dereference,nosuid readlink /a/b/x >> /out\n\
             RUN --mount=source=dangling,target=/there,no-dereference,rw readlink /there >> /out\n\
             RUN --mount=source=dangling,target=/x,no-dereference,U readlink /x >> /out; stat -c %u:%g /x >> /out\n\
             RUN --mount=from=files,source=/t/l,target=/x,no-dereference readlink /x >> /out && cat /x >> /out\n\
             RUN --mount=from=files,source=/t/l,target=/x,no-dereference,U,rw readlink /x >> /out\n\
             RUN --mount=source=d,target=/x,no-dereference cat /x/f >> /out && echo >> /out\n";
        build(&bench, dockerfile).success();
        let seen = in_image(&bench, "cat /out; ls -d /x /a 2>&1; wc -c < /there");
        assert_eq!(
            seen,
            "real\nof the image\nof the context\n../real\n/nowhere\n/nowhere\n0:0\n/real\nof the image\n/real\nin d\n\
             ls: /x: No such file or directory\nls: /a: No such file or directory\n1\n"
        );
        let link_only = "FROM busybox\nRUN --mount=source=link,target=/x,no-dereference readlink /x > /out\n";
        build(&bench, link_only).success();
        bench.file("real", "something else");
        build(&bench, link_only).success().complains("CACHED");
        fs::remove_file(at(&bench, "link")).expect("it is there");
        symlink("d", at(&bench, "link")).expect("our directory");
        build(&bench, link_only).success();
        assert_eq!(in_image(&bench, "cat /out"), "d\n");
        let refused = build(&bench, "FROM busybox\nRUN --mount=source=link,target=/tmp,no-dereference true\n");
        refused.exit(1).complains("`/tmp` in the image is a directory, expected a file");
        let missing = build(&bench, "FROM busybox\nRUN --mount=source=lnik,target=/x,no-dereference true\n");
        missing.exit(1).complains("`lnik` not found");
    });
}

/// The source of a mount is a path: characters that are wildcards in `COPY` are themselves in it.
#[test]
fn the_source_of_a_mount_is_no_pattern() {
    let Some((bench, _registry)) = with_busybox() else { return };
    bench.file("a[b]*/f", "strange").file("ab/f", "plain");
    let dockerfile = "FROM busybox AS files\nCOPY . /\nFROM busybox\n\
         RUN --mount=source=a[b]*,target=/x cat /x/f > /out\n\
         RUN --mount=from=files,source=/a[b]*,target=/x cat /x/f >> /out\n\
         RUN --mount=type=cache,id=strange,from=files,source=/a[b]*,target=/x cat /x/f >> /out\n";
    build(&bench, dockerfile).success();
    assert_eq!(in_image(&bench, "cat /out"), "strangestrangestrange");
    build(&bench, "FROM busybox\nRUN --mount=source=a*,target=/x true\n").exit(1).complains("`a*` not found");
}
