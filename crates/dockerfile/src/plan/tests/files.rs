//! `RUN`, `COPY`, `ADD`, `WORKDIR`: what reaches the graph.

use stave_graph::{Network, Op};

use super::*;

/// The operations of the target's chain after its base, one a line.
fn operations(text: &str) -> String {
    let plan = ready(text);
    let lines = plan.graph.to_string();
    lines.lines().filter(|line| !line.contains("= scratch") && !line.contains("= image")).collect::<Vec<_>>().join("\n")
}

#[test]
fn run_has_two_forms() {
    assert!(operations("FROM scratch\nRUN echo  $HOME\n").contains(r#"["/bin/sh", "-c", "echo  $HOME"]"#));
    assert!(operations("FROM scratch\nRUN [\"/x\", \"$A\"]\n").contains(r#"["/x", "$A"]"#));
    let text = "FROM scratch\nSHELL [\"/bin/bash\", \"-ec\"]\nRUN a\n";
    assert!(operations(text).contains(r#"["/bin/bash", "-ec", "a"]"#));
}

#[test]
fn the_network_is_chosen_by_flag_or_option() {
    let networks = |text: &str, network| {
        let plan = ready_with(text, &PlanOptions { network, ..options() }, &image);
        let execs = plan.graph.reachable(plan.target).into_iter().filter_map(|node| match plan.graph.op(node) {
            Op::Exec(exec) => Some(exec.network),
            _ => None,
        });
        execs.collect::<Vec<_>>()
    };
    let text = "FROM scratch\nRUN a\nRUN --network=none a\nRUN --network=host a\nRUN --network=default a\n";
    let (host, none) = (Network::Host, Network::None);
    assert_eq!(networks(text, host), [host, none, host, host]);
    assert_eq!(networks(text, none), [none, none, host, none]);
}

/// T166, T167.
#[test]
fn workdirs_add_up_and_make_directories() {
    let text = "FROM scratch\nWORKDIR a\nUSER 5\nWORKDIR b\nWORKDIR /c/\nWORKDIR ./d/..\nWORKDIR /\n";
    assert_eq!(
        operations(text),
        "#1 = make directory on #0 \"/a\" owner=\"\"
#2 = make directory on #1 \"/a/b\" owner=\"5\"
#3 = make directory on #2 \"/c\" owner=\"5\"
#4 = make directory on #3 \"/c\" owner=\"5\""
    );
    let plan = ready(text);
    assert_eq!(plan.config.config.working_dir, "/");
    let expected = ["WORKDIR /a", "USER 5", "WORKDIR /a/b", "WORKDIR /c", "WORKDIR /c", "WORKDIR /"];
    assert_eq!(history(&plan), expected);
    assert_eq!(plan.history.last().and_then(|item| item.node), None);
}

/// T84 to T87, T92, T93, A127.
#[test]
fn destinations_are_seen_from_the_working_directory() {
    for (copy, expected) in [
        ("COPY f /sample/", r#"context:"f" to "/sample" as directory"#),
        ("COPY f /sample", r#"context:"f" to "/sample""#),
        ("COPY f $unset", r#"context:"f" to "/w" as directory"#),
        ("COPY . .", r#"context:"." to "/w" as directory"#),
        ("COPY f ../x", r#"context:"f" to "/x""#),
        ("COPY ../../f /", r#"context:"f" to "/" as directory"#),
        ("COPY a/../b/* /x/../y/", r#"context:"b/*" to "/y" as directory"#),
        ("COPY [\"a b\", \"/c d\"]", r#"context:"a b" to "/c d""#),
        ("COPY --chown=1:2 --chmod=0755 f g", r#"context:"f" to "/w/g" chown="1:2" chmod=0755"#),
        ("COPY --from=scratch f g", r#"#0:"f" to "/w/g""#),
    ] {
        let text = format!("FROM scratch\nWORKDIR /w\n{copy}\n");
        let line = format!("copy on #1 {expected}");
        assert_eq!(operations(&text).lines().last().and_then(|line| line.split_once(" = ")).map(|x| x.1), Some(&*line));
    }
}

/// T79.
#[test]
fn a_copy_from_a_stage_does_not_see_its_working_directory() {
    let text = "FROM scratch AS s\nWORKDIR /w\nFROM scratch\nCOPY --from=s foo bar\n";
    assert!(operations(text).ends_with(r#"copy on #0 #1:"foo" to "/bar""#));
}

#[test]
fn add_unpacks_archives() {
    let line = operations("FROM scratch\nADD a.tar b /d/\n");
    assert_eq!(line, "#1 = add on #0 context:\"a.tar\" context:\"b\" to \"/d\" as directory");
}

/// A140.
#[test]
fn flags_of_copies_are_expanded() {
    let text = "FROM scratch\nARG M=644\nARG O=7\nCOPY --chmod=$M --chown=$O f /g\n";
    assert_eq!(operations(text), "#1 = copy on #0 context:\"f\" to \"/g\" chown=\"7\" chmod=644");
    assert_eq!(history(&ready(text)).last(), Some(&"COPY --chown=7 --chmod=644 f /g # buildkit"));
}

/// T57, T58, A073, A074.
#[test]
fn proxies_reach_run_without_a_trace_unless_they_are_declared() {
    let unkeyed = |text: &str| {
        let plan = ready_with(text, &with_args(&[("HTTP_PROXY", "p"), ("no_proxy", "n")]), &image);
        let Op::Exec(exec) = plan.graph.op(plan.target).clone() else { panic!("the target is a RUN") };
        (exec.unkeyed_env, env_of_last_run(&plan), history(&plan).join("\n"))
    };
    let (proxies, env, line) = unkeyed("FROM scratch\nRUN x\n");
    assert_eq!(proxies, ["HTTP_PROXY=p", "http_proxy=p", "NO_PROXY=n", "no_proxy=n"]);
    assert_eq!((env, line.as_str()), (vec![], "RUN /bin/sh -c x # buildkit"));
    let (proxies, env, line) = unkeyed("FROM scratch\nARG HTTP_PROXY\nRUN x\n");
    assert_eq!(proxies, ["http_proxy=p", "NO_PROXY=n", "no_proxy=n"]);
    assert_eq!(env, ["HTTP_PROXY=p"]);
    assert_eq!(line, "ARG HTTP_PROXY=p\nRUN |1 HTTP_PROXY=p /bin/sh -c x # buildkit");
    let (proxies, env, _) = unkeyed("FROM scratch\nENV HTTP_PROXY=own\nRUN x\n");
    assert_eq!(proxies, ["HTTP_PROXY=p", "http_proxy=p", "NO_PROXY=n", "no_proxy=n"], "they win over `ENV`");
    assert_eq!(env, ["HTTP_PROXY=own"]);
}

#[test]
fn the_host_name_is_buildkits_unless_chosen() {
    let hostname = |options: &PlanOptions| {
        let plan = ready_with("FROM scratch\nRUN x\n", options, &image);
        let Op::Exec(exec) = plan.graph.op(plan.target).clone() else { panic!("the target is a RUN") };
        exec.hostname
    };
    assert_eq!(hostname(&options()), "buildkitsandbox");
    assert_eq!(hostname(&with_args(&[("BUILDKIT_SANDBOX_HOSTNAME", "h")])), "h");
}
