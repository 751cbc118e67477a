//! Configurations as BuildKit made them (that of Docker 20.10.24), recorded with `docker save`.
//!
//! Of the histories only the lines are compared whose form has not changed since.

use super::*;

const EVERYTHING: &str = r#"FROM scratch AS base
ARG foo=bar bar=123
ENV abc=hello
ENV abc=bye def=$abc pct=%s%d
LABEL "com.x"=1 foo="a b" q="x\"y"
WORKDIR a
WORKDIR /b/c/
WORKDIR /
USER a:b
EXPOSE 80-82/tcp 53/udp 80/TCP
VOLUME ["/a b"]
VOLUME /c /d
STOPSIGNAL 9
SHELL ["/bin/bash", "-c"]
HEALTHCHECK --interval=1m30s --retries=3 CMD curl "x"
MAINTAINER me <a@b>
CMD echo "x"
ENTRYPOINT ["/e", "a\tb"]
COPY --chown=1:2 f g ./
COPY f /x
ADD f /d/
ONBUILD RUN x
"#;

const EVERYTHING_CONFIG: &str = r#"{"User":"a:b","ExposedPorts":{"53/udp":{},"80/tcp":{},"81/tcp":{},"82/tcp":{}},
"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","abc=bye","def=hello","pct=%s%d"],
"Entrypoint":["/e","a\tb"],"Cmd":["/bin/bash","-c","echo \"x\""],"Volumes":{"/a b":{},"/c":{},"/d":{}},
"WorkingDir":"/","Labels":{"com.x":"1","foo":"a b","q":"x\"y"},"StopSignal":"9",
"Healthcheck":{"Test":["CMD-SHELL","curl \"x\""],"Interval":90000000000,"Retries":3},"ArgsEscaped":true,
"OnBuild":["RUN x"],"Shell":["/bin/bash","-c"]}"#;

/// With `true` where there is a layer.
const EVERYTHING_HISTORY: &[(&str, bool)] = &[
    ("ARG foo=bar bar=123", false),
    ("ENV abc=hello", false),
    ("ENV abc=bye def=hello pct=%s%d", false),
    ("LABEL com.x=1 foo=a b q=x\"y", false),
    ("WORKDIR /a", true),
    ("WORKDIR /", false),
    ("USER a:b", false),
    ("VOLUME [/a b]", false),
    ("VOLUME [/c /d]", false),
    ("STOPSIGNAL 9", false),
    ("SHELL [/bin/bash -c]", false),
    ("MAINTAINER me <a@b>", false),
    ("CMD [\"/bin/bash\" \"-c\" \"echo \\\"x\\\"\"]", false),
    ("ENTRYPOINT [\"/e\" \"a\\tb\"]", false),
    ("COPY f /x # buildkit", true),
    ("ADD f /d/ # buildkit", true),
];

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("it is JSON")
}

#[test]
fn the_configuration_is_buildkits() {
    let plan = ready(EVERYTHING);
    assert_eq!(serde_json::to_value(&plan.config.config).expect("it is JSON"), json(EVERYTHING_CONFIG));
    assert_eq!(plan.config.author.as_deref(), Some("me <a@b>"));
    let changed_since = ["EXPOSE", "HEALTHCHECK", "COPY --chown", "WORKDIR /b"];
    let lines: Vec<_> = plan
        .history
        .iter()
        .map(|item| (item.created_by.as_str(), item.node.is_some()))
        .filter(|(line, _)| !changed_since.iter().any(|start| line.starts_with(start)))
        .collect();
    assert_eq!(lines, EVERYTHING_HISTORY);
}

#[test]
fn the_configuration_of_a_child_stage_is_buildkits() {
    let plan = ready("FROM scratch AS b\nCOPY f /f\nCMD [\"x\"]\nFROM b\nENTRYPOINT [\"y\"]\nLABEL z=1\n");
    let recorded = r#"{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Entrypoint":["y"],"WorkingDir":"/","Labels":{"z":"1"},"ArgsEscaped":true}"#;
    assert_eq!(serde_json::to_value(&plan.config.config).expect("it is JSON"), json(recorded));
    assert_eq!(history(&plan), ["COPY f /f # buildkit", "CMD [\"x\"]", "ENTRYPOINT [\"y\"]", "LABEL z=1"]);
}
