//! Heredocs, mounts, links, sources on the network, triggers and named contexts: what reaches the graph.

use stave_graph::{ContextId, GitSource};

use super::*;
use crate::plan::NamedContext;

/// The operations, one a line, without those that have nothing to say.
fn operations(text: &str, options: &PlanOptions) -> String {
    let plan = ready_with(text, options, &image);
    let graph = plan.graph.to_string();
    let told = |line: &&str| !line.ends_with("= scratch") && !line.contains("= image of");
    graph.lines().filter(told).map(|line| line.replace(PATH, "")).collect::<Vec<_>>().join("\n")
}

const PATH: &str = "env=[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"] cwd=\"/\" user=\"\" ";

fn shown(text: &str) -> String {
    operations(text, &options())
}

fn mistakes(text: &str, options: &PlanOptions, images: &dyn Fn(&str) -> ImageConfig) -> String {
    render(text, &outcome(text, options, images).1)
}

/// T1, A027, A028, A023.
#[test]
fn a_heredoc_is_the_script_of_its_run() {
    assert_eq!(
        shown("FROM a\nRUN <<EOF\necho $A\necho b\nEOF\nRUN cat <<-X >/f && ls\n\thi\n\tX\n"),
        "#1 = exec on #0 [\"/bin/sh\", \"-c\", \"echo $A\\necho b\\n\"] network=Host
#2 = exec on #1 [\"/bin/sh\", \"-c\", \"cat <<-X >/f && ls\\n\\thi\\nX\"] network=Host"
    );
    assert_eq!(
        shown("FROM a\nRUN <<-'EOF'\n\t#!/usr/bin/env python\n\tprint(1)\nEOF\n"),
        "#1 = exec on #0 [\"/bin/sh\", \"-c\", \"/dev/pipes/EOF\"] network=Host \
mount=\"/dev/pipes/EOF\":Inline { content: \"#!/usr/bin/env python\\nprint(1)\\n\", mode: 493 }"
    );
}

/// T1, A024, A026: the body is expanded unless the name is quoted; files written here come last.
#[test]
fn a_heredoc_is_a_file_of_its_copy() {
    let text = "FROM a\nENV A=x\nCOPY <<one b <<'two' /d/\n$A \"q\" \\$A\none\n$A\ntwo\n";
    assert_eq!(
        shown(text),
        "#1 = copy on #0 context:\"b\" \"one\"=\"x \\\"q\\\" $A\\n\" \"two\"=\"$A\\n\" to \"/d\" as directory"
    );
    assert_eq!(history(&ready(text))[1], "COPY b <<one <<two /d/ # buildkit");
}

/// T154, A103 to A122.
#[test]
fn mounts_have_defaults_and_variables() {
    for (mount, expected) in [
        ("type=bind,target=/m", "\"/m\":bind Context(ContextId(0)) \".\""),
        ("target=m,source=/a/../b,rw", "\"/w/m\":bind Context(ContextId(0)) \"b\" rw"),
        ("type=bind,from=base,src=x,dst=/m,ro=false", "\"/m\":bind Tree(#0) \"x\" rw"),
        ("type=bind,from=scratch,target=/m", "\"/m\":bind Empty \".\""),
        (
            "type=cache,target=/c/",
            "\"/c\":Cache { id: \"/c\", source: Empty, path: \".\", writable: true, sharing: Shared, mode: 493, uid: 0, gid: 0 }",
        ),
        (
            "type=$T,id=$ID,target=/c,sharing=Locked,mode=0700,uid=1,gid=2,ro",
            "\"/c\":Cache { id: \"go\", source: Empty, path: \".\", writable: false, sharing: Locked, mode: 448, uid: 1, gid: 2 }",
        ),
        ("type=tmpfs,target=/t,size=1.5k", "\"/t\":Tmpfs { bytes: Some(1536) }"),
        (
            "type=secret,id=a/s",
            "\"/run/secrets/s\":Secret { id: \"a/s\", required: false, mode: 256, uid: 0, gid: 0, env: None, file: true }",
        ),
        (
            "type=secret,target=/x/s,required,mode=0444,uid=7",
            "\"/x/s\":Secret { id: \"s\", required: true, mode: 292, uid: 7, gid: 0, env: None, file: true }",
        ),
        (
            "type=secret,id=s,env=TOKEN",
            "\"\":Secret { id: \"s\", required: false, mode: 256, uid: 0, gid: 0, env: Some(\"TOKEN\"), file: false }",
        ),
        (
            "type=ssh",
            "\"/run/buildkit/ssh_agent.0\":Ssh { id: \"default\", required: false, mode: 384, uid: 0, gid: 0 }",
        ),
    ] {
        let text = format!("FROM a AS base\nFROM b\nARG T=cache ID=go\nWORKDIR /w\nRUN --mount={mount} x\n");
        let graph = shown(&text);
        assert!(graph.ends_with(&format!("mount={expected}")), "{mount}:\n{graph}");
    }
}

/// T6, A105, A123.
#[test]
fn mounts_that_their_variables_spoil_are_shown_at_the_words() {
    let text = "FROM a\nARG T=tmpfs S=many N=\nRUN --mount=type=$T,target=/t,sharing=shared --mount=target=/ --mount=target=$N --mount=type=tmpfs,target=/a,size=$S x\n";
    assert_eq!(
        mistakes(text, &options(), &image),
        "error[D122]: mounts of type `tmpfs` have no option `sharing`
  ! line 3: `shared`
error[D122]: a mount cannot be the root directory
  ! line 3: `target=/`
error[D122]: the mount has no `target`
  ! line 3: `target=$N`
error[D122]: expected a size such as `64m` for mount option `size`, got `many`
  ! line 3: `$S`"
    );
}

/// T6, A107: what a mount names is needed like what a copy names; numbers are names of images here (K008).
#[test]
fn mounts_bring_their_stages_and_images() {
    let text = "FROM a AS one\nFROM b AS unused\nFROM c\nRUN --mount=from=ONE,target=/m --mount=from=d,target=/n x\n";
    assert_eq!(needs(text, &options()), ["a", "c", "d"]);
    let text = "FROM a AS x\nRUN --mount=from=y,target=/m c\nFROM b AS y\nCOPY --from=x f g\n";
    assert_eq!(
        mistakes(text, &options(), &image),
        "error[D105]: stage `x` and stage `y` need each other
  ! line 2: `y` stage `y` itself needs stage `x`
  - line 3: `y` stage `y` is defined here"
    );
}

/// A101, A102.
#[test]
fn commands_ask_for_privileges_and_devices() {
    let text = "FROM a\nARG G=gpu\nRUN --security=insecure --device=vendor.com/$G=0,required --device=name=b.c/d=e x\n";
    let graph = shown(text);
    assert!(graph.ends_with("security=Insecure device=vendor.com/gpu=0 required device=b.c/d=e"), "{graph}");
    assert_eq!(
        mistakes("FROM a\nRUN --device=a,b x\n", &options(), &image),
        "error[D123]: devices have no option `b`
  ! line 2: `a,b` expected `required`"
    );
}

/// T4, A141, K015: a link is made on nothing; with permissions it is a copy.
#[test]
fn a_linked_copy_does_not_need_its_parent() {
    let text = "FROM a\nCOPY --link x /x\nRUN y\n";
    assert_eq!(
        shown(text),
        "#2 = copy on #1 context:\"x\" to \"/x\"
#3 = merge #2 on #0
#4 = exec on #3 [\"/bin/sh\", \"-c\", \"y\"] network=Host"
    );
    let plan = ready(text);
    assert_eq!(titles(&plan), ["[0 1/3] FROM a", "[0 2/3] COPY --link x /x", "[0 3/3] RUN y"]);
    assert_eq!(plan.steps[1].node.index(), 2, "the copy does the work");
    assert_eq!(plan.history[0].node.map(stave_graph::NodeId::index), Some(3));
    assert_eq!(shown("FROM a\nCOPY --link --chmod=u+x x /x\n"), "#1 = copy on #0 context:\"x\" to \"/x\" chmod=u+x");
}

/// T4, A142, A146, A147.
#[test]
fn copies_keep_parents_and_leave_things_out() {
    assert_eq!(
        shown("FROM a\nCOPY --parents --exclude=*.o --exclude=$x a/./b/../c/ ./d e /f/\n"),
        "#1 = copy on #0 context:\"a/./c\" context:\"d\" context:\"e\" to \"/f\" as directory parents exclude=\"*.o\" exclude=\"$x\""
    );
}

/// T5, A156, A157, A160, A161, A163.
#[test]
fn what_is_on_the_network_is_a_source() {
    let sum = "0123456789abcdef".repeat(4);
    let text =
        format!("FROM scratch\nADD --checksum=sha256:{sum} https://h.example/a/f%20.tar?x=1 http://h.example/ /d/\n");
    let several = mistakes(&text, &options(), &image);
    assert!(several.starts_with("error[D125]: a checksum can only be given where there is one source"), "{several}");
    let text = text.replace(" http://h.example/", "");
    assert_eq!(
        shown(&text),
        format!(
            "#1 = http \"https://h.example/a/f%20.tar?x=1\" as \"f .tar\" checksum=sha256:{sum}
#2 = add on #0 #1:\"f .tar\" to \"/d\" as directory"
        )
    );
    let graph = shown("FROM scratch\nADD --keep-git-dir --unpack https://h.example/r.git#v1:sub /d\n");
    assert!(
        graph.contains("url: \"https://h.example/r.git\", reference: Some(\"v1\"), subdir: Some(\"sub\")"),
        "{graph}"
    );
    assert!(graph.contains("keep_git_dir: true"), "{graph}");
    assert!(graph.ends_with("#2 = add on #0 #1:\".\" to \"/d\" unpack=all"), "{graph}");
}

/// T3, A029: triggers run in front of the stage, and bring what they name.
#[test]
fn triggers_run_in_the_child() {
    let triggered = |name: &str| {
        let mut config = image(name);
        if name == "a" {
            config.config.on_build =
                vec!["COPY --from=tools /t /t".into(), "RUN <<E\necho hi\nE".into(), "ARG V=1".into()];
        }
        config
    };
    let text = "FROM b AS tools\nFROM a\nRUN echo $V\n";
    let plan = ready_with(text, &options(), &triggered);
    assert_eq!(
        titles(&plan),
        [
            "[tools 1/1] FROM b AS tools",
            "[1 1/4] FROM a",
            "[1 2/4] COPY --from=tools /t /t",
            "[1 3/4] RUN <<E",
            "[1 4/4] RUN echo $V"
        ]
    );
    assert_eq!(&text[plan.steps[2].span.range()], "a", "a trigger is shown at the base that has it");
    assert!(plan.config.config.on_build.is_empty());
    assert_eq!(
        history(&plan),
        [
            "COPY /t /t # buildkit",
            "RUN /bin/sh -c echo hi\n # buildkit",
            "ARG V=1",
            "RUN |1 V=1 /bin/sh -c echo $V # buildkit"
        ]
    );
    let text = "FROM a AS one\nONBUILD RUN x\nFROM one AS two\nONBUILD RUN y\nFROM two\n";
    let plan = ready_with(text, &options(), &image);
    assert_eq!(titles(&plan), ["[one 1/1] FROM a AS one", "[two 1/1] RUN x", "[2 1/1] RUN y"]);
}

#[test]
fn a_mistake_in_a_trigger_is_shown_at_the_base() {
    let with = |trigger: &'static str| {
        move |name: &str| {
            let mut config = image(name);
            config.config.on_build = vec![trigger.into()];
            config
        }
    };
    assert_eq!(
        mistakes("FROM a\nRUN x\n", &options(), &with("COPY --from=7 x y")),
        "error[D102]: there is no stage 7
  ! line 1: `a` the file has one stage, and its number is 0
  hint: It is in a trigger of the base: `ONBUILD COPY --from=7 x y`."
    );
    assert_eq!(
        mistakes("FROM a\n", &options(), &with("FROM x")),
        "error[D110]: `FROM` cannot be a trigger
  ! line 1: `a`
  hint: It is in a trigger of the base: `ONBUILD FROM x`."
    );
    assert_eq!(
        mistakes("FROM a\n", &options(), &with("RUN a\nRUN b")),
        "error[D110]: the trigger is more than one instruction
  ! line 1: `a`
  hint: It is in a trigger of the base: `ONBUILD RUN a\nRUN b`."
    );
}

fn with_contexts(contexts: &[(&str, NamedContext)]) -> PlanOptions {
    let contexts = contexts.iter().map(|(name, context)| ((*name).to_owned(), context.clone())).collect();
    PlanOptions { contexts, ..options() }
}

/// T8, A193 to A195.
#[test]
fn named_contexts_stand_for_images_stages_and_files() {
    let local = NamedContext::Local(ContextId(1));
    let options = with_contexts(&[("src", local.clone()), ("alpine", NamedContext::Image("other".into()))]);
    let text = "FROM alpine\nCOPY --from=src f /f\nRUN --mount=from=src,target=/m x\nCOPY --from=docker.io/library/alpine:latest g /g\n";
    assert_eq!(needs(text, &options), ["other"]);
    assert_eq!(
        operations(text, &options),
        "#1 = copy on #0 context 1:\"f\" to \"/f\"
#2 = exec on #1 [\"/bin/sh\", \"-c\", \"x\"] network=Host mount=\"/m\":bind Context(ContextId(1)) \".\"
#3 = copy on #2 #0:\"g\" to \"/g\""
    );
    // A stage of the same name is replaced, with its instructions and what they need.
    let text = "FROM never AS build\nRUN x\nFROM scratch\nCOPY --from=build f /f\n";
    let options = with_contexts(&[("build", local.clone())]);
    assert_eq!(needs(text, &options), Vec::<String>::new());
    assert_eq!(
        operations(text, &options),
        "#1 = add on #0 context 1:\".\" to \"/\" as directory unpack=all\n#2 = copy on #0 #1:\"f\" to \"/f\""
    );
    let options = with_contexts(&[("build::linux/arm64", local)]);
    assert_eq!(needs(text, &options), ["never"], "it is for another platform");
}

#[test]
fn named_contexts_may_be_on_the_network_or_stages() {
    let git = GitSource { url: "https://h.example/r.git".into(), ..git_source() };
    let contexts = [
        ("r", NamedContext::Git(git)),
        ("t", NamedContext::Http("https://h.example/t.tar".into())),
        ("s", NamedContext::Stage("one".into())),
    ];
    let text = "FROM r AS one\nFROM t\nCOPY --from=s x /x\n";
    let graph = operations(text, &with_contexts(&contexts));
    let lines: Vec<&str> = graph.lines().collect();
    assert!(lines[0].starts_with("#0 = git GitSource"), "{graph}");
    assert_eq!(
        lines[1..],
        [
            "#1 = http \"https://h.example/t.tar\" as \"t.tar\"",
            "#3 = add on #2 #1:\"t.tar\" to \"/\" as directory unpack=all",
            "#4 = copy on #3 #0:\"x\" to \"/x\""
        ]
    );
    let options = with_contexts(&[("s", NamedContext::Stage("nope".into()))]);
    assert_eq!(
        mistakes("FROM scratch\nCOPY --from=s x /x\n", &options, &image),
        "error[D101]: the named context is the stage `nope`, and no stage has that name\n  ! line 2: `s`"
    );
}

fn git_source() -> GitSource {
    let address = stave_graph::remote::parse_git("https://h.example/x.git", stave_graph::remote::AddressPlace::Context);
    address.expect("an address of git").expect("a good one").into_source()
}

/// K001.
#[test]
fn an_argument_over_the_environment_is_a_surprise_that_is_named() {
    let text = "FROM scratch\nENV A=1\nARG A=2\nRUN x\n";
    assert_eq!(
        mistakes(text, &options(), &image),
        "warning[D126]: `ARG A` hides `ENV A` from the commands that follow
  ! line 3: `A` commands see `2`
  hint: The image keeps `A=1`. Use another name for one of them."
    );
    let plan = ready(text);
    assert_eq!(env_of_last_run(&plan), ["A=2"]);
    assert_eq!(plan.config.config.env_value("A"), Some("1"));
}

/// A017: what once was a directive of builders for Windows is a comment, and ends the directives.
#[test]
fn a_directive_for_the_platform_is_a_comment() {
    let plan = ready("# platform=windows\n# escape=`\nFROM a\nRUN a \\\n b\n");
    assert_eq!(history(&plan), ["RUN /bin/sh -c a  b # buildkit"]);
    assert_eq!((plan.config.os.as_str(), plan.config.architecture.as_str()), ("linux", "amd64"));
}

/// A064: the version of the system is that of the platform that is asked for, and empty without one.
#[test]
fn the_version_of_the_system_is_an_argument() {
    let text = "ARG TARGETOSVERSION\nFROM a:v$TARGETOSVERSION\nARG TARGETOSVERSION\nARG BUILDOSVERSION=none\nRUN x\n";
    let windows = PlanOptions::new("windows(10.0.17763)/amd64".parse().expect("a platform"));
    let asked = needs(text, &windows);
    assert_eq!(asked, ["a:v10.0.17763"]);
    let plan = ready_with(text, &windows, &image);
    assert!(env_of_last_run(&plan).contains(&"TARGETOSVERSION=10.0.17763".to_owned()));
    assert_eq!(needs(text, &options()), ["a:v"]);
}
