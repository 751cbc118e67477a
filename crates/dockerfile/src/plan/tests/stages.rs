//! Stages: what they start from, what they are called, which of them are planned.

use super::*;

const STORY: &str = "\
FROM golang:1.7.3 as builder
WORKDIR /go/src/github.com/alexellis/href-counter/
RUN go get -d -v golang.org/x/net/html
COPY app.go    .
RUN CGO_ENABLED=0 GOOS=linux go build -a -installsuffix cgo -o app .

FROM alpine:latest
RUN apk --no-cache add ca-certificates
WORKDIR /root/
COPY --from=builder /go/src/github.com/alexellis/href-counter/app .
CMD [\"./app\"]
";

#[test]
fn the_story_is_one_graph() {
    let plan = ready(STORY);
    assert_eq!(
        plan.graph.to_string(),
        r#"#0 = image of 1 layers
#1 = make directory on #0 "/go/src/github.com/alexellis/href-counter" owner=""
#2 = exec on #1 ["/bin/sh", "-c", "go get -d -v golang.org/x/net/html"] env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] cwd="/go/src/github.com/alexellis/href-counter" user="" network=Host
#3 = copy on #2 context:"app.go" to "/go/src/github.com/alexellis/href-counter" as directory
#4 = exec on #3 ["/bin/sh", "-c", "CGO_ENABLED=0 GOOS=linux go build -a -installsuffix cgo -o app ."] env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] cwd="/go/src/github.com/alexellis/href-counter" user="" network=Host
#5 = image of 1 layers
#6 = exec on #5 ["/bin/sh", "-c", "apk --no-cache add ca-certificates"] env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] cwd="/" user="" network=Host
#7 = make directory on #6 "/root" owner=""
#8 = copy on #7 #4:"go/src/github.com/alexellis/href-counter/app" to "/root" as directory
"#
    );
    assert_eq!(plan.target.index(), 8);
    assert_eq!(plan.base.as_ref().map(|base| base.reference.as_str()), Some("alpine:latest"));
    assert_eq!(plan.config.config.cmd.as_deref(), Some(&["./app".to_owned()][..]));
    assert_eq!(plan.config.config.working_dir, "/root");
    assert_eq!(
        titles(&plan),
        [
            "[builder 1/5] FROM golang:1.7.3 as builder",
            "[builder 2/5] WORKDIR /go/src/github.com/alexellis/href-counter/",
            "[builder 3/5] RUN go get -d -v golang.org/x/net/html",
            "[builder 4/5] COPY app.go .",
            "[builder 5/5] RUN CGO_ENABLED=0 GOOS=linux go build -a -installsuffix cgo -o app .",
            "[1 1/4] FROM alpine:latest",
            "[1 2/4] RUN apk --no-cache add ca-certificates",
            "[1 3/4] WORKDIR /root/",
            "[1 4/4] COPY --from=builder /go/src/github.com/alexellis/href-counter/app .",
        ]
    );
    assert_eq!(
        history(&plan),
        [
            "RUN /bin/sh -c apk --no-cache add ca-certificates # buildkit",
            "WORKDIR /root",
            "COPY /go/src/github.com/alexellis/href-counter/app . # buildkit",
            r#"CMD ["./app"]"#,
        ]
    );
    assert!(plan.history.iter().all(|item| item.comment.as_deref() == Some("buildkit.dockerfile.v0")));
    let layers: Vec<_> = plan.history.iter().map(|item| item.node.map(stave_graph::NodeId::index)).collect();
    assert_eq!(layers, [Some(6), Some(7), Some(8), None]);
}

#[test]
fn numbers_and_names_mean_the_same_stage() {
    let by_number = ready(&STORY.replace("--from=builder", "--from=0").replace(" as builder", ""));
    assert_eq!(by_number.graph, ready(STORY).graph);
}

#[test]
fn all_bases_are_asked_for_at_once() {
    assert_eq!(needs(STORY, &options()), ["golang:1.7.3", "alpine:latest"]);
    assert_eq!(needs("FROM a\nCOPY --from=b /x /\nCOPY --from=b /y /\nCOPY --from=a /z /\n", &options()), ["a", "b"]);
}

/// T65, T66 (the exception K006).
#[test]
fn names_of_stages_have_no_case() {
    let text = "FROM a AS Stage0\nFROM STAGE0 AS sTage1\nCOPY --from=STAGE0 /x /\n";
    assert_eq!(needs(text, &with_target("STAge1")), ["a"]);
}

/// T67: the later one of two stages is meant by what follows it, and only by that.
#[test]
fn a_second_stage_of_the_same_name_takes_over() {
    let text = "FROM a AS x\nFROM x AS y\nFROM b AS x\nFROM x\nCOPY --from=y /f /\n";
    assert_eq!(needs(text, &options()), ["a", "b"]);
    assert_eq!(ready(text).base.map(|base| base.reference).as_deref(), Some("b"));
}

/// T68, T69.
#[test]
fn a_stage_hides_an_image_and_may_start_from_its_own_name() {
    assert_eq!(needs("FROM busybox AS alpine\nFROM alpine\n", &options()), ["busybox"]);
    assert_eq!(needs("FROM alpine AS alpine\nRUN x\n", &options()), ["alpine"]);
    assert_eq!(needs("FROM alpine AS alpine\nFROM alpine AS alpine\n", &options()), ["alpine"]);
}

/// T71, A058.
#[test]
fn what_the_target_does_not_need_is_not_planned() {
    let text =
        "FROM a AS used\nFROM B@d AS unused\nRUN --mount=type=cache,target=/c x\nFROM c\nCOPY --from=used /f /\n";
    assert_eq!(needs(text, &options()), ["a", "c"]);
    let plan = ready(text);
    assert_eq!(titles(&plan), ["[used 1/1] FROM a AS used", "[2 1/2] FROM c", "[2 2/2] COPY --from=used /f /"]);
    assert_eq!(plan.graph.reachable(plan.target).len(), plan.graph.len(), "nothing superfluous is in the graph");
}

#[test]
fn a_target_is_a_name_or_a_number() {
    let text = "FROM a AS one\nFROM b AS two\nFROM c\n";
    assert_eq!(needs(text, &with_target("ONE")), ["a"]);
    assert_eq!(needs(text, &with_target("1")), ["b"]);
    assert_eq!(needs(text, &options()), ["c"]);
}

/// T73, T75.
#[test]
fn a_copy_from_an_image_asks_for_it_on_the_target_platform() {
    let parsed = crate::parse("FROM --platform=linux/arm64 a\nCOPY --from=busybox /bin/x /y\n");
    let (Plan::Need(requests), _) = plan(&parsed.file, &options(), &Facts::default()) else {
        panic!("bases are needed")
    };
    let requests: Vec<_> =
        requests.iter().map(|(request, _)| format!("{} {}", request.reference, request.platform)).collect();
    assert_eq!(requests, ["a linux/arm64", "busybox linux/amd64"]);
}

/// T76.
#[test]
fn scratch_has_no_layers_but_a_path() {
    let plan = ready("FROM scratch\nLABEL a=b\n");
    assert_eq!(plan.graph.to_string(), "#0 = scratch\n");
    assert_eq!(plan.base, None);
    assert_eq!(plan.config.config.env, ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    assert_eq!(plan.config.config.working_dir, "/");
    assert_eq!((plan.config.os.as_str(), plan.config.architecture.as_str()), ("linux", "amd64"));
    assert_eq!(titles(&plan), [""; 0]);
}

/// T77.
#[test]
fn a_stage_of_only_from_is_its_base() {
    let base = |name: &str| {
        let mut config = image(name);
        config.config.env = vec!["PATH=/bin".into(), "A=1".into()];
        config.config.cmd = Some(vec!["sh".into()]);
        config.config.labels.insert("a".into(), "b".into());
        config.author = Some("me".into());
        config
    };
    let mut options = super::options();
    options.labels = vec![("a".into(), "c".into()), ("n".into(), String::new())];
    let plan = ready_with("FROM x\n", &options, &base);
    let mut expected = base("x");
    expected.rootfs = RootFs::default();
    expected.config.labels = [("a", "c"), ("n", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    assert_eq!(plan.config, expected);
    assert_eq!(plan.history, []);
}

/// A063.
#[test]
fn a_base_without_layers_is_scratch_with_a_configuration() {
    let empty = |_: &str| {
        let mut config = ImageConfig { rootfs: RootFs::default(), ..image("x") };
        config.config.user = "7".into();
        config
    };
    let plan = ready_with("FROM x\nWORKDIR /d\n", &options(), &empty);
    assert_eq!(plan.graph.to_string(), "#0 = scratch\n#1 = make directory on #0 \"/d\" owner=\"7\"\n");
    assert!(plan.base.is_some());
}

#[test]
fn equal_stages_are_built_once() {
    let text =
        "FROM a AS one\nRUN make\nFROM a AS two\nRUN make\nFROM scratch\nCOPY --from=one /x /\nCOPY --from=two /y /\n";
    let plan = ready(text);
    assert_eq!(plan.graph.len(), 5);
    assert_eq!(plan.steps[1].node, plan.steps[3].node);
}

#[test]
fn origins_lead_back_to_the_words() {
    let plan = ready(STORY);
    let written = |node| &STORY[plan.span(plan.graph.origin(node)).range()];
    assert_eq!(written(plan.target), "COPY --from=builder /go/src/github.com/alexellis/href-counter/app .");
    assert_eq!(written(plan.steps[0].node), "golang:1.7.3");
}

/// A054: a stage that is only waited for is built, whatever its files are; nothing of it is in the image.
#[test]
fn a_stage_begins_after_those_that_its_from_names() {
    let text = "FROM a AS one\nRUN one\nFROM scratch AS two\nCOPY x /\nFROM c AS unused\nRUN unused\n\
                FROM --after=ONE --after=1 b\nRUN three\n";
    let plan = ready(text);
    let graph = plan.graph.to_string();
    let after = graph.lines().find(|line| line.contains(" after ")).expect("something is waited for");
    assert_eq!(after, "#5 = #4 after #1 #3");
    assert!(graph.contains("#6 = exec on #5 [\"/bin/sh\", \"-c\", \"three\"]"), "{graph}");
    let expected = [
        "[one 1/2] FROM a AS one",
        "[one 2/2] RUN one",
        "[two 1/1] COPY x /",
        "[3 1/2] FROM --after=ONE --after=1 b",
        "[3 2/2] RUN three",
    ];
    assert_eq!(titles(&plan), expected);
    assert_eq!(history(&plan), ["RUN /bin/sh -c three # buildkit"]);
    assert_eq!(plan.base.as_ref().map(|base| base.reference.as_str()), Some("b"));
    // What a context stands for is there already.
    let mut options = super::options();
    options.contexts.insert("four".to_owned(), crate::plan::NamedContext::Image("d".to_owned()));
    let replaced = ready_with("FROM a AS one\nRUN one\nFROM --after=one b AS four\nRUN x\n", &options, &image);
    assert_eq!(replaced.graph.to_string(), "#0 = image of 1 layers\n");
}
