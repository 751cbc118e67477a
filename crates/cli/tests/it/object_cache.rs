//! Caches in services: S3 and Azure as real servers speak them, GitHub's as a scripted one does.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use stave_testkit::fixtures::with_busybox;
use stave_testkit::http::{Request, Response, Server};
use stave_testkit::{Bench, LoopbackRegistry, Output, needs};

const FILE: &str = "FROM busybox AS first\nRUN head -c 8 /dev/urandom | md5sum > /first\n\
                    FROM busybox\nRUN head -c 8 /dev/urandom | md5sum > /own\nCOPY --from=first /first /copied\n\
                    CMD cat /own /copied\n";

fn machine(registry: &LoopbackRegistry) -> Bench {
    let bench = Bench::new().with_registry(registry);
    bench.file("Dockerfile", FILE);
    bench
}

fn build(bench: &Bench, options: &[&str]) -> Output {
    let output = bench.run([&["build", "--progress=plain", "-t", "made"], options, &["."]].concat());
    output.success();
    output
}

fn ran(bench: &Bench) -> String {
    bench.run(["run", "--rm", "made"]).success().out()
}

/// Whether no step ran.
fn all_cached(output: &Output) -> bool {
    let lines: Vec<&str> = output.stderr.lines().collect();
    let steps: Vec<&str> = lines.iter().filter_map(|line| Some(line.split_once(" [")?.0)).collect();
    !steps.is_empty() && steps.iter().all(|number| lines.contains(&format!("{number} CACHED").as_str()))
}

/// What holds for every service: another machine runs nothing, and two that export at once lose nothing.
fn works(registry: &LoopbackRegistry, fields: &str) {
    let one = machine(registry);
    build(&one, &[&format!("--cache-to={fields},mode=max")]);
    let other = machine(registry);
    let from = format!("--cache-from={fields},wait=60s");
    let output = build(&other, &[&from]);
    assert!(all_cached(&output), "{output}");
    assert_eq!(ran(&other), ran(&one));
    let racer = |number: usize| {
        format!("FROM busybox\nRUN echo {number} && head -c 8 /dev/urandom | md5sum > /own\nCMD cat /own\n")
    };
    let machines: Vec<Bench> = (0..3).map(|_| machine(registry)).collect();
    for (number, bench) in machines.iter().enumerate() {
        bench.file("Dockerfile", racer(number));
    }
    let to = format!("--cache-to={fields}");
    let running: Vec<_> =
        machines.iter().map(|bench| (bench, bench.spawn(["build", "-t", "made", &to, "."]))).collect();
    for (bench, child) in running {
        bench.wait(child).success();
    }
    for (number, bench) in machines.iter().enumerate() {
        let other = machine(registry);
        other.file("Dockerfile", racer(number));
        let output = build(&other, &[&from]);
        assert!(all_cached(&output), "{output}");
        assert_eq!(ran(&other), ran(bench));
    }
    // What was there before them is there still.
    let last = machine(registry);
    assert!(all_cached(&build(&last, &[&from])));
    assert_eq!(ran(&last), ran(&one));
}

/// A server of its own process, which ends with the test.
struct Running {
    child: Child,
    port: u16,
}

impl Running {
    fn start(mut command: Command, port: u16) -> Self {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_mins(2), "the server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("it ran until now");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A program that ends with this thread, however the test ends.
fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// One request without anything that proves who asks.
fn raw(port: u16, request: &str) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    connection.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer).into_owned()
}

/// D005
#[test]
fn a_bucket_of_s3_is_a_cache() {
    let (Some(program), Some((bench, registry))) = (needs::server("moto/bin/moto_server"), with_busybox()) else {
        return;
    };
    let port = free_port();
    let mut command = bound(&program);
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).current_dir(bench.work());
    let server = Running::start(command, port);
    let made = raw(port, "PUT /bucket HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(made.starts_with("HTTP/1.1 200"), "{made}");
    let fields = format!(
        "type=s3,bucket=bucket,region=us-east-1,endpoint_url=http://127.0.0.1:{},use_path_style=true,\
         access_key_id=id,secret_access_key=sentinel-of-the-key,prefix=team/",
        server.port
    );
    works(&registry, &format!("{fields},name=main"));
    // Several names are one cache under each of them; what was touched the day before is not touched again.
    let one = machine(&registry);
    build(&one, &[&format!("--cache-to={fields},name=a;b,touch_refresh=1h")]);
    let other = machine(&registry);
    let output = build(
        &other,
        &[&format!("--cache-from={fields},name=b,wait=60s"), &format!("--cache-to={fields},name=b,touch_refresh=0s")],
    );
    assert!(all_cached(&output), "{output}");
    assert!(!output.stderr.contains("sentinel-of-the-key"));
    let listed = raw(port, "GET /bucket?list-type=2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    for key in ["team/manifests/main", "team/manifests/a", "team/manifests/b", "team/blobs/sha256:"] {
        assert!(listed.contains(key), "{key}: {listed}");
    }
    let missing = machine(&registry);
    build(
        &missing,
        &[&format!("--cache-from={},name=none,wait=60s", fields.replace("bucket=bucket", "bucket=nowhere"))],
    )
    .complains("is not used");
}

/// A server that gives keys to who asks it in one of the three ways, and what it was asked for.
fn giver_of_keys() -> (Server, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let giver = Server::start(move |request| {
        log.lock().expect("no panic").push(format!("{} {}", request.method, request.path));
        let json =
            r#"{"AccessKeyId":"given","SecretAccessKey":"sentinel","Token":"t","Expiration":"2999-01-01T00:00:00Z"}"#;
        let ok = |text: &str| Response::body(200, "text/plain", text.as_bytes());
        match (request.method.as_str(), request.path.as_str()) {
            ("PUT", "/latest/api/token") => ok("session"),
            (_, path)
                if path.starts_with("/latest") && request.header("x-aws-ec2-metadata-token") != Some("session") =>
            {
                Response::status(401)
            }
            (_, "/latest/meta-data/iam/security-credentials/") => ok("builder\n"),
            (_, "/latest/meta-data/iam/security-credentials/builder") => ok(json),
            (_, "/container") if request.header("authorization") == Some("secret word") => ok(json),
            (_, "/sts/")
                if request.query.contains("WebIdentityToken=who-i-am") && request.query.contains("RoleArn=role") =>
            {
                ok("<C><AccessKeyId>given</AccessKeyId><SecretAccessKey>sentinel</SecretAccessKey>\
                    <SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></C>")
            }
            _ => Response::status(403),
        }
    });
    (giver, asked)
}

/// D005: no keys are given, so that they are asked for: with the token of a pod, of a container's service, of the machine.
#[test]
fn keys_for_a_bucket_come_from_whoever_gives_them_out() {
    let (Some(program), Some((bench, registry))) = (needs::server("moto/bin/moto_server"), with_busybox()) else {
        return;
    };
    let port = free_port();
    let mut command = bound(&program);
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).current_dir(bench.work());
    let _server = Running::start(command, port);
    raw(port, "PUT /keys HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let (giver, asked) = giver_of_keys();
    let at = |path: &str| format!("http://{}{path}", giver.address());
    bench.file("token", "who-i-am\n");
    let token = bench.work().join("token").display().to_string();
    let ways: [(&str, Vec<(&str, String)>); 3] = [
        ("machine", vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", at(""))]),
        (
            "container",
            vec![
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", at("/container")),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "secret word".to_owned()),
            ],
        ),
        (
            "identity",
            vec![
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token),
                ("AWS_ROLE_ARN", "role".to_owned()),
                ("AWS_ENDPOINT_URL_STS", at("/sts/")),
            ],
        ),
    ];
    for (name, variables) in ways {
        let fields = format!(
            "type=s3,bucket=keys,region=us-east-1,endpoint_url=http://127.0.0.1:{port},use_path_style=true,name={name}"
        );
        let [mut one, mut other] = [machine(&registry), machine(&registry)];
        for (variable, value) in &variables {
            one.set(variable, value);
            other.set(variable, value);
        }
        asked.lock().expect("no panic").clear();
        build(&one, &[&format!("--cache-to={fields},mode=max")]);
        // Once for all requests of a build.
        let count = asked.lock().expect("no panic").len();
        assert_eq!(count, if name == "machine" { 3 } else { 1 }, "{name}: {:?}", asked.lock().expect("no panic"));
        let output = build(&other, &[&format!("--cache-from={fields},wait=60s")]);
        assert!(all_cached(&output) && !output.stderr.contains("sentinel"), "{name}: {output}");
    }
    let mut nobody = machine(&registry);
    nobody.set("AWS_EC2_METADATA_DISABLED", "true");
    nobody.run(["build", "--cache-to=type=s3,bucket=keys,region=x", "."]).exit(2).complains("access_key_id");
}

/// D006
#[test]
fn a_container_of_azure_is_a_cache() {
    let program = needs::server("azurite/node_modules/.bin/azurite-blob");
    let (Some(program), Some((bench, registry))) = (program, with_busybox()) else { return };
    let port = free_port();
    let mut command = bound(&program);
    command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--silent", "--skipApiVersionCheck"]);
    command.args(["--disableTelemetry", "--location"]).arg(bench.path("azurite")).current_dir(bench.work());
    let server = Running::start(command, port);
    // The account that the server makes for everybody who tests with it.
    let key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let fields = format!(
        "type=azblob,account_url=http://127.0.0.1:{}/devstoreaccount1,account_name=devstoreaccount1,container=team,\
         secret_access_key={key}",
        server.port
    );
    works(&registry, &format!("{fields},name=main"));
    let other = machine(&registry);
    let wrong = fields.replace("Eby8", "Eby9");
    build(&other, &[&format!("--cache-from={wrong},wait=60s")]).complains("is not used");
    let refused = other.run(["build", &format!("--cache-to={wrong}"), "."]);
    refused.exit(3).complains("403");
}

/// GitHub's service as far as builders use it: both versions, entries that are written once.
#[derive(Default)]
struct Workflow {
    /// By key: what was reserved, and what it is when it is complete.
    entries: BTreeMap<String, (Vec<u8>, bool)>,
    order: Vec<String>,
    /// What was asked for, in the second version.
    lookups: Vec<String>,
}

const TOKEN: &str = "e30.PAYLOAD.signature";

impl Workflow {
    fn start() -> (Server, Arc<Mutex<Self>>) {
        let state = Arc::new(Mutex::new(Self::default()));
        let shared = Arc::clone(&state);
        let server =
            Server::start(move |request| shared.lock().expect("no test panics while it answers").answer(request));
        (server, state)
    }

    fn find(&self, key: &str) -> Option<&str> {
        let complete = |found: &&String| found.starts_with(key) && self.entries[*found].1;
        self.order.iter().rev().find(complete).map(String::as_str)
    }

    fn reserve(&mut self, key: &str) -> Option<usize> {
        if self.entries.contains_key(key) {
            return None;
        }
        self.entries.insert(key.to_owned(), (Vec::new(), false));
        self.order.push(key.to_owned());
        Some(self.order.len())
    }

    fn answer(&mut self, request: &Request) -> Response {
        let signed = request.path.starts_with("/signed/");
        assert!(signed != request.header("authorization").is_some_and(|value| value.starts_with("Bearer e30.")));
        let host = format!("http://{}", request.header("host").expect("a host"));
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let key = body["key"].as_str().unwrap_or_default().to_owned();
        let json = |value: Value| Response::body(200, "application/json", value.to_string());
        if let Some(number) = request.path.strip_prefix("/signed/") {
            let key = self.order[number.parse::<usize>().expect("a number") - 1].clone();
            if request.method == "GET" {
                return Response::body(200, "application/octet-stream", self.entries[&key].0.clone());
            }
            assert_eq!(request.header("x-ms-blob-type"), Some("BlockBlob"));
            self.entries.insert(key, (request.body.clone(), false));
            return Response::status(201);
        }
        if request.path.ends_with("/GetCacheEntryDownloadURL") {
            self.lookups.push(key.clone());
        }
        let number = |key: &str| self.order.iter().position(|own| own == key).expect("it is there") + 1;
        match request.path.rsplit_once('/').expect("a path") {
            (_, "CreateCacheEntry") => match self.reserve(&key) {
                Some(number) => json(json!({ "ok": true, "signed_upload_url": format!("{host}/signed/{number}") })),
                None => Response::status(409),
            },
            (_, "FinalizeCacheEntryUpload") => {
                let entry = self.entries.get_mut(&key).expect("it is there");
                assert_eq!(body["size_bytes"].as_u64(), Some(entry.0.len() as u64));
                entry.1 = true;
                json(json!({ "ok": true, "entry_id": "1" }))
            }
            (_, "GetCacheEntryDownloadURL") => match self.find(&key) {
                Some(found) => json(json!({
                    "ok": true, "matched_key": found, "signed_download_url": format!("{host}/signed/{}", number(found)),
                })),
                None => json(json!({ "ok": false })),
            },
            (_, "cache") => {
                let key = request.query_value("keys").expect("a key").replace("%23", "#");
                match self.find(&key) {
                    Some(found) => json(json!({
                        "cacheKey": found, "archiveLocation": format!("{host}/signed/{}", number(found)),
                    })),
                    None => Response::status(204),
                }
            }
            (_, "caches") => match self.reserve(&key) {
                Some(number) => json(json!({ "cacheID": number })),
                None => Response::status(409),
            },
            (_, id) => {
                let key = self.order[id.parse::<usize>().expect("a number") - 1].clone();
                let entry = self.entries.get_mut(&key).expect("it is there");
                if request.method == "PATCH" {
                    let range = format!("bytes {}-{}/*", entry.0.len(), entry.0.len() + request.body.len() - 1);
                    assert_eq!(request.header("content-range"), Some(range.as_str()));
                    entry.0.extend_from_slice(&request.body);
                } else {
                    assert_eq!(body["size"].as_u64(), Some(entry.0.len() as u64));
                    entry.1 = true;
                }
                Response::status(204)
            }
        }
    }
}

/// D004
#[test]
fn the_cache_of_a_workflow_is_a_cache_in_both_versions_of_the_service() {
    let Some((mut bench, registry)) = with_busybox() else { return };
    let access =
        json!([{ "Scope": "refs/heads/main", "Permission": 1 }, { "Scope": "refs/heads/work", "Permission": 3 }]);
    let claims = json!({ "ac": access.to_string() }).to_string();
    let token = TOKEN.replace("PAYLOAD", &base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims));
    for (version, url) in [(1, "url"), (2, "url_v2")] {
        let (server, state) = Workflow::start();
        let fields = format!("type=gha,version={version},{url}={}/,token={token},scope=team", server.url());
        works(&registry, &fields);
        let keys = state.lock().expect("it serves no longer").order.clone();
        assert!(keys.iter().any(|key| key.starts_with("buildkit-blob-1-sha256:")), "{keys:?}");
        assert!(keys.iter().any(|key| key.starts_with("index-team-1-") && key.ends_with("#1")), "{keys:?}");
    }
    // The variables of a workflow say the rest; where there are none, nothing is exported and nothing fails.
    bench.file("Dockerfile", FILE);
    build(&bench, &["--cache-to=type=gha", "--cache-from=type=gha"]).complains("no workflow of GitHub's runs here");
    let (server, state) = Workflow::start();
    bench
        .set("ACTIONS_CACHE_SERVICE_V2", "true")
        .set("ACTIONS_RESULTS_URL", server.url())
        .set("ACTIONS_RUNTIME_TOKEN", &token);
    build(&bench, &["--cache-to=type=gha"]);
    assert!(!state.lock().expect("it serves no longer").order.is_empty());
    // A token that may only read is good for importing.
    let claims = json!({ "ac": json!([{ "Scope": "refs/heads/work", "Permission": 1 }]).to_string() }).to_string();
    let reader = TOKEN.replace("PAYLOAD", &base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims));
    let other = machine(&registry);
    let fields = format!("type=gha,url_v2={},token={reader}", server.url());
    assert!(all_cached(&build(&other, &[&format!("--cache-from={fields},wait=60s")])));
    other.run(["build", &format!("--cache-to={fields}"), "."]).exit(3).complains("may not write");
}

/// D004: with a token of GitHub's own interface, what is there is listed and not asked for blob by blob.
#[test]
fn the_blobs_of_a_workflows_cache_are_listed_where_a_token_allows_it() {
    let Some((mut bench, _registry)) = with_busybox() else { return };
    let claims = json!({ "ac": json!([{ "Scope": "refs/heads/main", "Permission": 3 }]).to_string() }).to_string();
    let token = TOKEN.replace("PAYLOAD", &base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims));
    let (server, state) = Workflow::start();
    let known = Arc::clone(&state);
    let api = Server::start(move |request| {
        assert_eq!(request.path, "/api/repos/me/app/actions/caches");
        assert_eq!(request.header("authorization"), Some("Bearer ghs_1"));
        let value = |name: &str| request.query_value(name).expect("it is said").replace("%2F", "/");
        assert_eq!((value("ref"), value("key")), ("refs/heads/main".to_owned(), "buildkit-blob-1-".to_owned()));
        let page: usize = value("page").parse().expect("a number");
        // Entries of other versions fill the first page.
        let other = || json!({ "key": "buildkit-blob-1-sha256:0", "version": "of another cache" });
        let version = stave_oci::BlobDigest::of(b"|go-actionscache-1.0").hex();
        let order = known.lock().expect("no test panics while it answers").order.clone();
        let own = order.iter().map(|key| json!({ "key": key, "version": version }));
        let entries: Vec<Value> = if page == 1 { (0..100).map(|_| other()).collect() } else { own.collect() };
        Response::body(200, "application/json", json!({ "actions_caches": entries }).to_string())
    });
    bench.set("GITHUB_API_URL", format!("{}/api", api.url()));
    bench.file("Dockerfile", FILE);
    let to = |more: &str| format!("--cache-to=type=gha,url_v2={},token={token},ghtoken=ghs_1{more}", server.url());
    let lookups = || {
        let lookups = std::mem::take(&mut state.lock().expect("it serves no longer").lookups);
        lookups.into_iter().filter(|key| key.starts_with("buildkit-blob-1-")).count()
    };
    for _ in 0..2 {
        build(&bench, &[&to(",repository=me/app")]);
        assert_eq!(lookups(), 0);
    }
    build(&bench, &[&format!("--cache-to=type=gha,url_v2={},token={token}", server.url())]);
    assert!(lookups() > 0, "without the list each is asked for");
    bench.run(["build", &to(""), "."]).exit(2).complains("`ghtoken=` needs `repository=`");
    bench.run(["build", &to(",repository=../app"), "."]).exit(2).complains("`repository=../app` is no `OWNER/NAME`");
}
