//! G022: traces of OpenTelemetry, as a collector gets them.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::sync::{Arc, Mutex, mpsc};

use flate2::read::GzDecoder;
use serde_json::Value;
use stave_testkit::Bench;
use stave_testkit::fixtures::with_busybox;
use stave_testkit::http::{Request, Response, Server};

/// A text that is in no trace.
const SECRET: &str = "hush-5d1c77-never-to-be-seen";

/// What a collector is sent, and how it answers.
struct Collector {
    server: Server,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Collector {
    fn new(answer: impl Fn() -> Response + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&seen);
        let server = Server::start(move |request| {
            requests.lock().expect("no panic").push(request.clone());
            answer()
        });
        Self { server, seen }
    }

    /// The requests since it was asked last.
    fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.seen.lock().expect("no panic"))
    }
}

fn taken() -> Response {
    Response::body(200, "application/json", "{}")
}

/// A bench whose builds send JSON to a collector.
fn with_collector(bench: &mut Bench, collector: &Collector) {
    bench.set("OTEL_EXPORTER_OTLP_ENDPOINT", collector.server.url());
    bench.set("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    // What waits for a busy machine is no part of these tests.
    bench.set("OTEL_EXPORTER_OTLP_TIMEOUT", "10000");
}

fn spans(request: &Request) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("a list").clone()
}

fn names(spans: &[Value]) -> Vec<&str> {
    spans.iter().map(|span| span["name"].as_str().expect("a name")).collect()
}

/// What is said of a span under this name.
fn said<'a>(span: &'a Value, name: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().expect("a list");
    let found = attributes.iter().find(|attribute| attribute["key"] == name);
    let value = &found.unwrap_or_else(|| panic!("no `{name}` in {span}"))["value"];
    value.as_object().and_then(|value| value.values().next()).expect("a value")
}

const TWO_STEPS: &str = "FROM busybox AS base\nRUN echo one > /one\nRUN cat /one\n";

#[test]
fn a_build_sends_its_trace_as_a_part_of_what_its_caller_does() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    let collector = Collector::new(taken);
    with_collector(&mut bench, &collector);
    bench.set("OTEL_EXPORTER_OTLP_HEADERS", format!("api-key={SECRET}"));
    bench.set("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=ci");
    bench.set("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    bench.file("Dockerfile", TWO_STEPS);
    bench.run(["build", "-t", "app", "."]).success();
    let requests = collector.take();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/traces"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("api-key"), Some(SECRET));
    let text = String::from_utf8_lossy(&request.body);
    assert!(text.contains("deployment.environment") && text.contains("service.name"), "{text}");
    let spans = spans(request);
    let expected = [
        "build docker.io/library/app:latest",
        "[base 1/3] FROM busybox AS base",
        "[base 2/3] RUN echo one > /one",
        "[base 3/3] RUN cat /one",
    ];
    assert_eq!(names(&spans)[..4], expected);
    assert!(spans.iter().all(|span| span["traceId"] == "0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(spans[0]["parentSpanId"], "b7ad6b7169203331");
    assert!(spans[1..].iter().all(|span| span["parentSpanId"] == spans[0]["spanId"]));
    assert_eq!(said(&spans[2], "stave.step.cause"), "first");
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok()).expect("nanoseconds");
    let (start, end) = (time(&spans[0]["startTimeUnixNano"]), time(&spans[0]["endTimeUnixNano"]));
    assert!(start < end && start > 1_700_000_000_000_000_000, "{start} {end}");
    assert!(
        spans.iter().all(|span| time(&span["startTimeUnixNano"]) >= start && time(&span["endTimeUnixNano"]) <= end)
    );

    bench.run(["build", "-t", "app", "."]).success();
    let again = collector.take();
    let steps = &self::spans(&again[0])[2..4];
    assert!(steps.iter().all(|step| said(step, "stave.step.cached") == true), "{steps:?}");
}

#[test]
fn a_failed_build_says_why_and_no_trace_has_a_secret() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    let collector = Collector::new(taken);
    with_collector(&mut bench, &collector);
    bench.file("secret", SECRET);
    bench.file(
        "Dockerfile",
        "FROM busybox\nARG TOKEN\nARG http_proxy\nRUN --mount=type=secret,id=s cat /run/secrets/s; echo $TOKEN; exit 7\n",
    );
    let (token, proxy) = (format!("TOKEN={SECRET}"), format!("http_proxy=http://me:{SECRET}@127.0.0.1:9/"));
    let args = ["build", "--secret", "id=s,src=secret", "--build-arg", &token, "--build-arg", &proxy, "."];
    bench.run(args).exit(1);
    let requests = collector.take();
    let spans = spans(&requests[0]);
    for span in [&spans[0], &spans[2]] {
        assert_eq!(span["status"]["code"], 2, "{span}");
        assert!(span["status"]["message"].as_str().is_some_and(|text| text.contains('7')), "{span}");
    }
    assert!(!String::from_utf8_lossy(&requests[0].body).contains(SECRET));
    assert!(!bench.run(["builds", "trace"]).success().out().contains(SECRET));
}

#[test]
fn protobuf_is_what_is_sent_unless_json_is_asked_for() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    let collector = Collector::new(taken);
    with_collector(&mut bench, &collector);
    bench.set("OTEL_EXPORTER_OTLP_PROTOCOL", "");
    bench.set("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    bench.set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/in", collector.server.url()));
    bench.file("Dockerfile", TWO_STEPS);
    bench.run(["build", "."]).success();
    let requests = collector.take();
    assert_eq!(requests[0].path, "/in");
    assert_eq!(requests[0].header("content-type"), Some("application/x-protobuf"));
    assert_eq!(requests[0].header("content-encoding"), Some("gzip"));
    let mut body = Vec::new();
    GzDecoder::new(requests[0].body.as_slice()).read_to_end(&mut body).expect("gzip");
    let has = |text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(body[0] == 0x0a && has("service.name") && has("[base 2/3] RUN echo one > /one"));
}

/// Whatever the collector does, the build is what it is, and one line says that it has no trace.
#[test]
fn no_collector_makes_a_build_fail_or_wait() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    bench.file("Dockerfile", TWO_STEPS);
    let id = bench.run(["build", "-q", "."]).success().out();
    let warned = |bench: &Bench, expected: &str| {
        let output = bench.run(["build", "-q", "."]);
        assert_eq!(output.success().out(), id);
        let warning = format!("warning: the trace of the build was not sent: {expected}");
        assert!(output.stderr.starts_with(&warning) && output.stderr.lines().count() == 1, "{}", output.stderr);
    };
    let refusing = Collector::new(|| Response::body(401, "text/plain", "who are you?"));
    with_collector(&mut bench, &refusing);
    warned(
        &bench,
        &format!("cannot post to {}/v1/traces: the server answered 401: who are you?", refusing.server.url()),
    );
    let partial = r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}"#;
    let picky = Collector::new(move || Response::body(200, "application/json", partial));
    with_collector(&mut bench, &picky);
    warned(&bench, "the collector refused 2 of the spans: too old");
    let away = Collector::new(|| Response::status(302).with("Location", "http://192.0.2.1/"));
    with_collector(&mut bench, &away);
    warned(&bench, &format!("cannot post to {}/v1/traces: the server answered 302", away.server.url()));
    // Takes connections, and says nothing.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    bench.set("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", silent.local_addr().expect("bound")));
    bench.set("OTEL_EXPORTER_OTLP_TIMEOUT", "50");
    let output = bench.run(["build", "-q", "."]);
    assert_eq!(output.success().out(), id);
    assert!(output.stderr.starts_with("warning: the trace of the build was not sent: "), "{}", output.stderr);
    let json = bench.run(["build", "--progress=rawjson", "."]);
    let last: Value = serde_json::from_str(json.success().stderr.lines().last().expect("lines")).expect("JSON");
    assert_eq!(last["event"], "notice", "{last}");
}

/// Why a build failed is said at once, and not when a collector has had its time.
#[test]
fn a_failed_build_says_why_before_its_collector_answers() {
    let mut bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY missing /\n");
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    // It lets go when the test says so, or has ended.
    let collector = Collector::new(move || {
        held.lock().expect("no panic").recv().unwrap_or_default();
        taken()
    });
    with_collector(&mut bench, &collector);
    let mut command = bench.command(["build", "--progress=none", "."]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("stave starts");
    let mut stderr = child.stderr.take().expect("it is piped");
    assert_eq!(Bench::hear(&mut stderr, "error"), "error", "no word of the trace comes first");
    drop(release);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("text");
    assert_eq!(child.wait().expect("waited for").code(), Some(1), "{rest}");
}

#[test]
fn what_is_not_carried_out_is_a_note_and_without_a_collector_nothing_is_said() {
    let mut bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", "1");
    let collector = Collector::new(taken);
    with_collector(&mut bench, &collector);
    bench.set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    bench.run(["build", "."]).success().complains(
        "note: no trace is sent: `OTEL_EXPORTER_OTLP_PROTOCOL=grpc` is not supported: stave speaks `http/protobuf` and `http/json`\n",
    );
    bench.set("OTEL_SDK_DISABLED", "true");
    assert!(!bench.run(["build", "."]).success().stderr.contains("trace"));
    bench.set("OTEL_SDK_DISABLED", "").set("OTEL_EXPORTER_OTLP_ENDPOINT", "");
    assert!(!bench.run(["build", "."]).success().stderr.contains("trace"));
    assert!(collector.take().is_empty());
}

#[test]
fn a_build_of_the_past_is_printed_or_sent_with_the_ids_that_it_had() {
    let mut bench = Bench::new();
    bench.file("Dockerfile", "FROM scratch\nCOPY a /\n").file("a", "1");
    let collector = Collector::new(taken);
    with_collector(&mut bench, &collector);
    bench.run(["build", "."]).success();
    let sent = spans(&collector.take()[0]);
    let printed: Value = serde_json::from_str(&bench.run(["builds", "trace", "^0"]).success().out()).expect("JSON");
    let ids = |spans: &[Value]| spans.iter().map(|span| span["spanId"].clone()).collect::<Vec<_>>();
    let past = printed["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("a list").clone();
    assert_eq!((ids(&past), &past[0]["traceId"]), (ids(&sent), &sent[0]["traceId"]));
    // Who calls now is not who called then.
    bench.set("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
    bench.run(["builds", "trace", "--send"]).success();
    assert_eq!(spans(&collector.take()[0]), past);
    bench.set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    bench.run(["builds", "trace", "--send"]).exit(3).complains("error: the trace was not sent: cannot post to ");
    // What says how a trace is sent is nothing to one that is printed; what says whose it is, is.
    bench.set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").set("OTEL_TRACES_SAMPLER", "jaeger_remote");
    bench.set("OTEL_SERVICE_NAME", "nightly");
    assert!(bench.run(["builds", "trace"]).success().out().contains("nightly"));
    bench.set("OTEL_EXPORTER_OTLP_ENDPOINT", "");
    assert!(bench.run(["builds", "trace"]).success().out().contains("nightly"));
    let output = bench.run(["builds", "trace", "--send"]);
    assert_eq!(
        output.exit(2).stderr,
        "error: the environment names no collector, or says that no trace is to be sent\n\
         hint: `OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318` names one; without `--send` the trace is printed.\n"
    );
    bench
        .run(["buildx", "history", "trace", "--addr", "x"])
        .exit(2)
        .complains("error: `--addr` of `docker buildx history` is not supported");
}
