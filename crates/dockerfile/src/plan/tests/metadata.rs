//! `ARG`, `ENV` and what ends up in the configuration and the history.

use super::*;

/// T36.
#[test]
fn one_env_sees_the_values_from_before_it() {
    let plan = ready("FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n");
    assert_eq!(plan.config.config.env[1..], ["abc=bye", "def=hello", "ghi=bye"]);
    assert_eq!(history(&plan), ["ENV abc=hello", "ENV abc=bye def=hello", "ENV ghi=bye"]);
}

/// T49.
#[test]
fn an_arg_without_a_value_is_not_set() {
    assert_eq!(env_of_last_run(&ready("FROM scratch\nARG FOO\nARG BAR=\nRUN env\n")), ["BAR="]);
}

/// T50, T51, T53, A067, A068.
#[test]
fn args_are_seen_where_they_are_declared() {
    let run = |text: &str| env_of_last_run(&ready(text));
    assert_eq!(run("ARG tag=latest\nFROM busybox:$tag\nRUN x\n"), [""; 0]);
    assert_eq!(run("ARG tag=latest\nFROM busybox:$tag\nARG tag\nRUN x\n"), ["tag=latest"]);
    assert_eq!(run("ARG tag=a\nFROM busybox\nARG tag=x\nRUN x\n"), ["tag=x"]);
    assert_eq!(run("FROM a AS a\nARG v=1\nFROM a\nRUN x\n"), ["v=1"]);
    assert_eq!(run("FROM a AS a\nARG v=1\nFROM b\nCOPY --from=a /x /\nRUN x\n"), [""; 0]);
    let plan = ready_with("ARG tag=a\nFROM x:$tag\nARG tag=x\nRUN x\n", &with_args(&[("tag", "z")]), &image);
    assert_eq!(env_of_last_run(&plan), ["tag=z"]);
    assert_eq!(plan.base.map(|base| base.reference).as_deref(), Some("x:z"));
}

/// T54 (K001: the later one wins in RUN, and the configuration keeps ENV).
#[test]
fn the_later_of_arg_and_env_wins() {
    let args = with_args(&[("V", "2")]);
    let plan = ready_with("FROM scratch\nARG V\nENV V=1\nRUN x\n", &args, &image);
    assert_eq!(
        (env_of_last_run(&plan), &plan.config.config.env[1..]),
        (vec!["V=1".to_owned()], &["V=1".to_owned()][..])
    );
    let plan = ready_with("FROM scratch\nENV V=1\nARG V\nRUN x\n", &args, &image);
    assert_eq!(
        (env_of_last_run(&plan), &plan.config.config.env[1..]),
        (vec!["V=2".to_owned()], &["V=1".to_owned()][..])
    );
}

/// T55, T56.
#[test]
fn args_are_expanded_from_left_to_right() {
    let plan = ready_with("FROM scratch\nARG V\nENV V=${V:-d}\n", &with_args(&[("V", "g")]), &image);
    assert_eq!(plan.config.config.env[1..], ["V=g"]);
    assert_eq!(env_of_last_run(&ready("FROM scratch\nARG a=1 b=$a\nRUN x\n")), ["a=1", "b=1"]);
    assert_eq!(needs("ARG a1=\"foo bar\" a2=box\nFROM busy$a2\n", &options()), ["busybox"]);
}

/// T59, T60, T61.
#[test]
fn platforms_and_the_stage_are_arguments_to_declare() {
    let text = "FROM a-$TARGETARCH AS final\nARG TARGETARCH TARGETPLATFORM BUILDOS TARGETVARIANT TARGETSTAGE\nRUN x\n";
    let plan = ready(text);
    assert_eq!(plan.base.as_ref().map(|base| base.reference.as_str()), Some("a-amd64"));
    assert_eq!(
        env_of_last_run(&plan),
        ["TARGETARCH=amd64", "TARGETPLATFORM=linux/amd64", "BUILDOS=linux", "TARGETVARIANT=", "TARGETSTAGE=final"]
    );
    assert_eq!(env_of_last_run(&ready("FROM a\nRUN x\n")), [""; 0]);
    let plan = ready_with("FROM a\nARG TARGETOS\nRUN x\n", &with_args(&[("TARGETOS", "freebsd")]), &image);
    assert_eq!((env_of_last_run(&plan), plan.config.os.as_str()), (vec!["TARGETOS=freebsd".to_owned()], "linux"));
    assert_eq!(env_of_last_run(&ready("FROM a\nARG TARGETSTAGE\nRUN x\n")), ["TARGETSTAGE=default"]);
}

/// A079.
#[test]
fn build_args_that_nothing_declares_are_reported() {
    let args =
        [("a", ""), ("b", ""), ("HTTPS_PROXY", ""), ("BUILDKIT_X", ""), ("SOURCE_DATE_EPOCH", "1"), ("TARGETOS", "")];
    let plan = ready_with("FROM x AS unused\nARG b\nFROM scratch\n", &with_args(&args), &image);
    assert_eq!(plan.unused_build_args, ["a"]);
}

/// T177, T58.
#[test]
fn the_history_of_a_run_shows_its_arguments() {
    let plan = ready("FROM scratch\nARG foo=bar bar=123\nENV foo=bar2\nARG none\nRUN ls -l\nRUN [\"a\", \"b\"]\n");
    assert_eq!(
        history(&plan),
        [
            "ARG foo=bar bar=123",
            "ENV foo=bar2",
            "ARG none",
            "RUN |3 foo=bar2 bar=123 none= /bin/sh -c ls -l # buildkit",
            "RUN |3 foo=bar2 bar=123 none= a b # buildkit",
        ]
    );
    assert!(plan.history.iter().all(|item| item.node.is_some() == item.created_by.starts_with("RUN")));
}

/// T168.
#[test]
fn an_entrypoint_clears_the_cmd_of_its_base() {
    let base = |name: &str| {
        let mut config = image(name);
        config.config.cmd = Some(vec!["base".into()]);
        config
    };
    let config = |text: &str| {
        let config = ready_with(text, &options(), &base).config.config;
        (config.entrypoint.unwrap_or_default().join(" "), config.cmd.unwrap_or_default().join(" "))
    };
    let pair = |entrypoint: &str, cmd: &str| (entrypoint.to_owned(), cmd.to_owned());
    assert_eq!(config("FROM a\nENTRYPOINT [\"e\"]\n"), pair("e", ""));
    assert_eq!(config("FROM a\nENTRYPOINT [\"e\"]\nCMD [\"c\"]\n"), pair("e", "c"));
    assert_eq!(config("FROM a\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n"), pair("e", "c"));
    assert_eq!(config("FROM a AS b\nCMD [\"c\"]\nFROM b\nENTRYPOINT [\"e\"]\n"), pair("e", ""));
    assert_eq!(config("FROM a\nCMD c d\n"), pair("", "/bin/sh -c c d"));
    assert_eq!(config("FROM a\nENTRYPOINT [\"e\"]\nENTRYPOINT []\n"), pair("", ""));
}

/// T169.
#[test]
fn the_shell_is_kept_for_children() {
    let plan = ready("FROM scratch AS a\nSHELL [\"/bin/bash\", \"-c\"]\nFROM a\nCMD x\n");
    assert_eq!(plan.config.config.cmd.as_deref(), Some(&["/bin/bash".to_owned(), "-c".into(), "x".into()][..]));
    assert_eq!(history(&plan), ["SHELL [/bin/bash -c]", r#"CMD ["/bin/bash" "-c" "x"]"#]);
    assert_eq!(plan.config.config.shell.map(|shell| shell.len()), Some(2));
}

/// T170.
#[test]
fn healthchecks_have_durations() {
    let plan = ready("FROM scratch\nHEALTHCHECK --interval=1m30s --timeout=0s --retries=3 CMD curl x\n");
    let check = plan.config.config.healthcheck.clone().expect("there is one");
    assert_eq!(check.test, ["CMD-SHELL", "curl x"]);
    assert_eq!((check.interval, check.timeout, check.retries), (Some(90_000_000_000), None, Some(3)));
    assert_eq!(
        history(&plan),
        ["HEALTHCHECK {Test:[CMD-SHELL curl x] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}"]
    );
    let none = ready("FROM scratch\nHEALTHCHECK NONE\n").config.config.healthcheck.expect("there is one");
    assert_eq!(none.test, ["NONE"]);
    let exec = ready("FROM scratch\nHEALTHCHECK CMD [\"a\", \"b\"]\n").config.config.healthcheck.expect("there is one");
    assert_eq!(exec.test, ["CMD", "a", "b"]);
}

/// T62, T174, A043.
#[test]
fn ports_are_split_expanded_and_sorted() {
    let plan = ready("FROM scratch\nENV P=\"3000 4000/udp\"\nEXPOSE $P 80-82/tcp 80/TCP\n");
    let ports: Vec<_> = plan.config.config.exposed_ports.keys().map(String::as_str).collect();
    assert_eq!(ports, ["3000/tcp", "4000/udp", "80/tcp", "81/tcp", "82/tcp"]);
    assert_eq!(history(&plan).last(), Some(&"EXPOSE [3000/tcp 4000/udp 80/tcp 81/tcp 82/tcp]"));
}

/// T63, T172, T178, A169.
#[test]
fn the_rest_of_the_configuration_is_set() {
    let text = "FROM scratch\nLABEL \"com.x\"=1 foo=\"a b\"\nVOLUME [\"/a b\"]\nVOLUME /c /d\nSTOPSIGNAL 9\nMAINTAINER me <a@b>\nUSER a:b\nONBUILD RUN x\n";
    let mut options = options();
    options.labels = vec![("foo".into(), "last".into())];
    let plan = ready_with(text, &options, &image);
    let config = &plan.config.config;
    assert_eq!(config.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["com.x=1", "foo=last"]);
    assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["/a b", "/c", "/d"]);
    assert_eq!(config.stop_signal.as_deref(), Some("9"));
    assert_eq!(config.user, "a:b");
    assert_eq!(config.on_build, ["RUN x"]);
    assert_eq!(plan.config.author.as_deref(), Some("me <a@b>"));
    assert_eq!(
        history(&plan),
        ["LABEL com.x=1 foo=a b", "VOLUME [/a b]", "VOLUME [/c /d]", "STOPSIGNAL 9", "MAINTAINER me <a@b>", "USER a:b",]
    );
}

/// T48.
#[test]
fn percent_signs_stay() {
    assert_eq!(history(&ready("FROM scratch\nENV pct=%s%d\n")), ["ENV pct=%s%d"]);
}
