//! Steps whose requests to the network are recorded: `--proxy-network`. E019, B057

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use stave_oci::BlobDigest;
use stave_testkit::http::{Response, Server};
use stave_testkit::output::Output;
use stave_testkit::{Bench, Image, LoopbackRegistry, Rootfs, needs};

use crate::callers::{Caller, each_caller};

const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// What a server was asked for.
type Seen = Arc<Mutex<Vec<String>>>;

/// A server whose files say their names, but for `/missing` and `/cut`.
fn server() -> (Server, Seen) {
    let seen = Seen::default();
    let notes = Arc::clone(&seen);
    let server = Server::start(move |request| {
        notes.lock().expect("no panic").push(format!("{} {}", request.method, request.path));
        let file = Response::body(200, "text/plain", format!("this is {}\n", request.path));
        match request.path.as_str() {
            "/missing" => Response::status(404),
            "/cut" => Response { cut_after: Some(4), ..file },
            _ => file,
        }
    });
    (server, seen)
}

fn take(seen: &Seen) -> Vec<String> {
    std::mem::take(&mut *seen.lock().expect("no panic"))
}

/// `base` is a small image with a shell and a file of trusted certificates.
fn with_base(caller: &Caller) -> Option<(Bench, LoopbackRegistry)> {
    let Some(mut image) = Image::of_busybox() else {
        needs::skipped("no static busybox (Debian's package busybox-static)");
        return None;
    };
    image.layer(Rootfs::new().file(BUNDLE, 0o644, "theirs\n"));
    let registry = LoopbackRegistry::start();
    registry.put("library/base", "latest", &image);
    let bench = caller.takes(Bench::new().with_registry(&registry));
    Some((bench, registry))
}

/// Builds what `lines` say on the base, with more arguments.
fn build(bench: &Bench, lines: &str, args: &[&str]) -> Output {
    bench.file("Dockerfile", format!("FROM base\n{lines}"));
    let all = ["build", "--allow", "network.host", "--progress", "plain"].iter().chain(args).chain(&["."]);
    bench.run(all.collect::<Vec<_>>())
}

fn of_image(bench: &Bench, command: &str) -> String {
    bench.run(["run", "--rm", "made", "sh", "-c", command]).success().out()
}

/// The provenance of the image that a build with these arguments writes.
fn provenance(bench: &Bench, args: &[&str]) -> Value {
    let mut all = vec!["build", "--allow", "network.host", "--provenance", "-o", "out"];
    all.extend(args);
    all.push(".");
    bench.run(&all).success();
    let bytes = fs::read(bench.work().join("out/provenance.json")).expect("it was written");
    let statement: Value = serde_json::from_slice(&bytes).expect("it is JSON");
    statement["predicate"].clone()
}

fn uris(predicate: &Value) -> Vec<(String, String)> {
    let list = predicate["buildDefinition"]["resolvedDependencies"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    list.iter().map(|one| (text(&one["uri"]), text(&one["digest"]["sha256"]))).collect()
}

/// What is fetched is in the output, in the provenance, and there again when the step is cached.
#[test]
fn what_a_step_fetches_is_recorded_and_a_material_also_when_it_is_cached() {
    each_caller(|caller| {
        let Some((bench, _registry)) = with_base(caller) else { return };
        let (server, seen) = server();
        let url = server.url();
        let line = format!(
            "RUN --network=host T=hu; wget -q -O /got {url}/file?token=${{T}}sh && wget -q -O /dev/null {url}/missing; \
             wget -q -O /dev/null {url}/cut; true\n"
        );
        let output = build(&bench, &line, &["--proxy-network", "-t", "made"]);
        output.success();
        let lines: Vec<String> = ["file?... -> 200", "missing -> 404", "cut -> 200 (incomplete)"]
            .iter()
            .map(|rest| format!("- GET {url}/{rest}"))
            .collect();
        for line in ["network requests:"].iter().map(ToString::to_string).chain(lines) {
            output.complains(&line);
        }
        assert!(!output.stderr.contains("hush"), "{}", output.stderr);
        assert_eq!(of_image(&bench, "cat /got"), "this is /file\n");
        take(&seen);
        let first = provenance(&bench, &["--proxy-network"]);
        assert_eq!(take(&seen), Vec::<String>::new(), "the step is cached");
        // The history has it of the build that ran the step, and of the one that found it cached.
        let history = bench.run(["builds", "ls", "-q"]).success().out();
        for build in history.lines() {
            let shown = bench.run(["builds", "show", build]).success().out();
            assert!(shown.contains(&format!("  GET {url}/file?... -> 200\n")), "{shown}");
            assert!(shown.contains(&format!("  GET {url}/cut -> 200 (incomplete)\n")), "{shown}");
        }
        let file = BlobDigest::of(b"this is /file\n").hex();
        assert!(uris(&first).contains(&(format!("{url}/file?..."), file)), "{first}");
        assert_eq!(uris(&first).iter().filter(|(uri, _)| uri.starts_with(&url)).count(), 1);
        let metadata = &first["runDetails"]["metadata"];
        assert_eq!(metadata["stave_metadata"]["incompleteRequests"], serde_json::json!([format!("{url}/cut")]));
        assert_eq!(metadata["stave_completeness"]["resolvedDependencies"], false);
        // Without the proxy it is another step, of which nothing is recorded.
        let without = provenance(&bench, &[]);
        assert!(!take(&seen).is_empty());
        assert!(uris(&without).iter().all(|(uri, _)| !uri.starts_with(&url)), "{without}");
    });
}

/// Only what may be among the materials is: then they are complete.
#[test]
fn materials_are_complete_where_all_that_came_is_one() {
    each_caller(|caller| {
        let Some((bench, _registry)) = with_base(caller) else { return };
        let (server, _seen) = server();
        let url = server.url();
        let stages = format!(
            "FROM base AS a\nRUN --network=host wget -q -O /got {url}/a\nFROM base\nRUN true\nCOPY --from=a /got /got\n"
        );
        bench.file("Dockerfile", stages);
        bench.run(["build", "--allow", "network.host", "--proxy-network", "."]).success();
        // Of the first stage nothing is looked at now, and its materials are there all the same.
        let predicate = provenance(&bench, &["--proxy-network"]);
        let digest = BlobDigest::of(b"this is /a\n").hex();
        assert!(uris(&predicate).contains(&(format!("{url}/a"), digest)), "{predicate}");
        assert_eq!(predicate["runDetails"]["metadata"]["stave_completeness"]["resolvedDependencies"], true);
        assert_eq!(predicate["runDetails"]["metadata"]["stave_hermetic"], false);
    });
}

/// What ignores the proxy, or is not meant to be reached, is not reached.
#[test]
fn nothing_leads_past_the_proxy_and_this_machine_is_reached_only_where_it_is_allowed() {
    each_caller(|caller| {
        let Some((bench, _registry)) = with_base(caller) else { return };
        let (server, seen) = server();
        let (url, port) = (server.url(), server.address().port());
        let output = build(
            &bench,
            &format!(
                "RUN --network=host http_proxy= wget -q -O /dev/null {url}/raw || \
                 nc -w 5 127.0.0.1 {port} </dev/null || ls /sys/class/net; cat /etc/resolv.conf; exit 3\n"
            ),
            &["--proxy-network"],
        );
        output.exit(1).complains("can't connect to remote host (127.0.0.1): Connection refused").complains("lo\n");
        assert!(!output.stderr.contains("network requests"), "{}", output.stderr);
        let output = build(&bench, &format!("RUN wget -q -O /dev/null {url}/own\n"), &["--proxy-network"]);
        output.exit(1).complains(&format!(
            "- GET {url}/own -> failed: cannot get {url}/own: cannot find the address of `127.0.0.1`: it is this machine, or \
             one that only this machine sees"
        ));
        // No network stays no network.
        let none = "RUN --network=none env | grep -i proxy; wget -q -O /dev/null";
        build(&bench, &format!("{none} {url}/none\n"), &["--proxy-network"]).exit(1);
        assert_eq!(take(&seen), Vec::<String>::new());
        // The caller may give the network of this machine to all steps.
        let line = format!("RUN wget -q -O /dev/null {url}/all\n");
        build(&bench, &line, &["--proxy-network", "--network=host"]).success();
        assert_eq!(take(&seen), ["GET /all"]);
        // What the Dockerfile wants, the caller has to allow.
        bench.file("Dockerfile", "FROM base\nRUN --network=host true\n");
        bench.run(["build", "--proxy-network", "."]).exit(1).complains("`RUN --network=host` is not allowed");
    });
}

/// A012: an image is the same with the proxy as without, and nothing of the proxy is in it.
#[test]
fn nothing_of_the_proxy_is_in_the_image() {
    each_caller(|caller| {
        let Some((bench, _registry)) = with_base(caller) else { return };
        let lines = format!(
            "RUN echo x > /etc/ssl/new && echo more >> /{BUNDLE}\nRUN touch /{BUNDLE} && chmod 600 /{BUNDLE}\n\
             RUN echo y > /new.crt && mv /new.crt /{BUNDLE} && cat /{BUNDLE} > /seen\n"
        );
        let digest = |args: &[&str]| {
            build(&bench, &lines, &[args, &["-t", "made", "--iidfile", "id"]].concat()).success();
            fs::read_to_string(bench.work().join("id")).expect("it was written")
        };
        let (with, without) = (digest(&["--proxy-network"]), digest(&[]));
        assert_eq!(with, without);
        let line =
            format!("RUN cat /{BUNDLE} | head -1; echo $http_proxy $NO_PROXY; env > /seen; echo more >> /{BUNDLE}\n");
        let output = build(&bench, &line, &["--proxy-network", "-t", "made"]);
        output
            .success()
            .complains("-----BEGIN CERTIFICATE-----")
            .complains("http://127.0.0.1:61080 localhost,127.0.0.1,::1");
        assert_eq!(of_image(&bench, &format!("cat /{BUNDLE}")), "theirs\nmore\n");
        let config = bench.run(["inspect", "made"]).success().out();
        assert!(!config.contains("61080") && !config.to_ascii_lowercase().contains("_proxy"), "{config}");
        assert!(!of_image(&bench, "env").to_ascii_lowercase().contains("proxy"));
    });
}

fn rule(action: &str, identifier: &str, more: &str) -> String {
    format!(r#"{{"action":"{action}","selector":{{"identifier":"{identifier}"}}{more}}}"#)
}

fn policy(bench: &Bench, rules: &[String]) {
    bench.file("policy.json", format!(r#"{{"rules":[{}]}}"#, rules.join(",")));
}

/// E013 to E015: the rules of sources are those of what steps ask for, also for what is cached.
#[test]
fn policies_deny_exchange_and_pin_what_steps_fetch() {
    each_caller(|caller| {
        let Some((bench, _registry)) = with_base(caller) else { return };
        let (server, seen) = server();
        let url = server.url();
        let line = format!("RUN --network=host wget -q -O /got {url}/a\n");
        let args = ["--proxy-network", "--source-policy-file", "policy.json", "-t", "made"];
        policy(&bench, &[rule("ALLOW", "*", "")]);
        build(&bench, &line, &args).success();
        assert_eq!(take(&seen), ["GET /a"]);
        policy(&bench, &[rule("DENY", &format!("{url}/*"), "")]);
        let denied = format!("- GET {url}/a -> refused: rule 1 of the source policy `policy.json` denies `{url}/a`");
        build(&bench, &line, &args).exit(1).complains(&denied).complains("403 Forbidden");
        assert_eq!(take(&seen), Vec::<String>::new());
        // What was made while it was denied is no result for a build that allows it.
        let lenient = format!("RUN --network=host wget -q -O /got {url}/b || echo denied > /got\n");
        build(&bench, &lenient, &args).success().complains(&format!("- GET {url}/b -> refused: "));
        assert_eq!(of_image(&bench, "cat /got"), "denied\n");
        build(&bench, &lenient, &args).success().complains(" CACHED");
        let output = build(&bench, &lenient, &["--proxy-network", "-t", "made"]);
        output.success().complains(
            "runs because nothing has changed, but what it asked of the network is not known, or would be answered \
             otherwise now",
        );
        assert_eq!(of_image(&bench, "cat /got"), "this is /b\n");
        take(&seen);
        let to = format!(r#","updates":{{"identifier":"{url}/other"}}"#);
        policy(&bench, &[rule("CONVERT", &format!("{url}/a"), &to)]);
        build(&bench, &line, &[&args[..], &["--no-cache"]].concat()).success();
        assert_eq!(take(&seen), ["GET /other"]);
        assert_eq!(of_image(&bench, "cat /got"), "this is /other\n");
        let pin =
            |content: &[u8]| format!(r#","updates":{{"attrs":{{"http.checksum":"{}"}}}}"#, BlobDigest::of(content));
        policy(&bench, &[rule("CONVERT", &format!("{url}/a"), &pin(b"this is /a\n"))]);
        build(&bench, &line, &[&args[..], &["--no-cache"]].concat()).success();
        policy(&bench, &[rule("CONVERT", &format!("{url}/a"), &pin(b"that"))]);
        let (found, wanted) = (BlobDigest::of(b"this is /a\n"), BlobDigest::of(b"that"));
        build(&bench, &line, &[&args[..], &["--no-cache"]].concat()).exit(1).complains(&format!(
            "- GET {url}/a -> refused: {url}/a has the checksum {found}, and a policy wants {wanted} (incomplete)"
        ));
    });
}

/// A server of TLS that answers every request with the same file, and the certificate by which it is trusted.
fn secure_server(content: &'static str) -> (std::net::SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, made.cert.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a key for the certificate");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).expect("a session");
            let mut stream = rustls::StreamOwned::new(session, stream);
            let mut byte = [0];
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len());
            // A client that does not trust the server is gone.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    (address, pem)
}

/// What is fetched over TLS is recorded as what is not, and only from a server that stave trusts.
#[test]
fn files_of_servers_of_tls_are_recorded_if_their_certificates_are_trusted() {
    each_caller(|caller| {
        let Some((mut bench, _registry)) = with_base(caller) else { return };
        let (address, pem) = secure_server("over TLS");
        let line = format!("RUN --network=host wget -O /got https://{address}/f\n");
        build(&bench, &line, &["--proxy-network"]).exit(1).complains(&format!(
            "- GET https://{address}/f -> failed: cannot get https://{address}/f: TLS failed: invalid peer certificate: \
             UnknownIssuer"
        ));
        bench.file("server.pem", pem);
        let trusted = bench.work().join("server.pem");
        bench.set("SSL_CERT_FILE", trusted);
        build(&bench, &line, &["--proxy-network", "-t", "made"])
            .success()
            .complains(&format!("- GET https://{address}/f -> 200"));
        assert_eq!(of_image(&bench, "cat /got"), "over TLS");
        let digest = BlobDigest::of(b"over TLS").hex();
        let predicate = provenance(&bench, &["--proxy-network"]);
        assert!(uris(&predicate).contains(&(format!("https://{address}/f"), digest)), "{predicate}");
    });
}

/// E016
#[test]
fn a_policy_in_rego_is_asked_about_what_steps_fetch() {
    each_caller(|caller| {
        let Some((bench, _registry)) = with_base(caller) else { return };
        let (server, seen) = server();
        let url = server.url();
        bench.file(
            "Dockerfile.rego",
            "package docker\ndefault allow := false\nallow if not input.http\nallow if { input.http.path == \"/good\"; print(\"good\") }\n\
             deny_msg contains \"not this one\" if not allow\ndecision := {\"allow\": allow, \"deny_msg\": deny_msg}\n",
        );
        let line = |path: &str| format!("RUN --network=host wget -q -O /got {url}{path}\n");
        build(&bench, &line("/good"), &["--proxy-network"]).success().complains("policy `./Dockerfile.rego` prints ");
        build(&bench, &line("/bad"), &["--proxy-network"]).exit(1).complains(&format!(
            "- GET {url}/bad -> refused: the policy `./Dockerfile.rego` does not allow `{url}/bad`: not this one"
        ));
        assert_eq!(take(&seen), ["GET /good"]);
    });
}

/// A result of another machine has no record, so it is none of a step that is recorded.
#[test]
fn a_result_without_a_record_does_not_answer() {
    each_caller(|caller| {
        let Some((bench, _registry)) = with_base(caller) else { return };
        let (server, seen) = server();
        let line = format!("RUN --network=host wget -q -O /got {}/a\n", server.url());
        build(&bench, &line, &["--proxy-network", "--cache-to", "type=local,dest=kept"]).success();
        assert_eq!(take(&seen), ["GET /a"]);
        let mut elsewhere = bench.command([
            "build",
            "--allow",
            "network.host",
            "--proxy-network",
            "--cache-from",
            "type=local,src=kept",
            ".",
        ]);
        elsewhere.env("STAVE_ROOT", bench.path("other-store"));
        bench.finish(elsewhere).success();
        assert_eq!(take(&seen), ["GET /a"]);
        // Whose record is gone, runs again.
        let layers = fs::read_dir(bench.store().join("layers")).expect("layers");
        for layer in layers {
            let record = layer.expect("a layer").path().join("requests.json");
            if record.exists() {
                fs::remove_file(record).expect("it is removed");
            }
        }
        build(&bench, &line, &["--proxy-network"]).success();
        assert_eq!(take(&seen), ["GET /a"]);
        build(&bench, &line, &["--proxy-network"]).success();
        assert_eq!(take(&seen), Vec::<String>::new());
    });
}

/// R7: what a step does to its proxy harms the step alone, and its end is the end of it.
#[test]
fn a_step_that_attacks_its_proxy_ends_as_any_other() {
    each_caller(|caller| {
        let Some((bench, _registry)) = with_base(caller) else { return };
        let (server, _seen) = server();
        let garbage = "head -c 300000 /dev/zero | nc -w 2 127.0.0.1 61080 | head -1; \
             printf 'GET http://a:b@c/ HTTP/1.1\\r\\n\\r\\n' | nc 127.0.0.1 61080 | tail -1; \
             i=0; while [ $i -lt 200 ]; do nc 127.0.0.1 61080 </dev/zero >/dev/null 2>&1 & i=$((i+1)); done";
        let line =
            format!("RUN --network=host {garbage}; exit 0\nRUN --network=host wget -q -O /got {}/a\n", server.url());
        let output = build(&bench, &line, &["--proxy-network", "-t", "made"]);
        output.success().complains("stave: the request is not for a file: address has a user name or a password in it");
        assert_eq!(of_image(&bench, "cat /got"), "this is /a\n");
    });
}

/// A secret that a step puts into an address is in no record of it.
#[test]
fn a_secret_in_an_address_is_in_no_record() {
    each_caller(|caller| {
        let Some((bench, _registry)) = with_base(caller) else { return };
        let (server, seen) = server();
        let url = server.url();
        bench.file("secret", "hush-5d1c77");
        let line = format!(
            "RUN --network=host --mount=type=secret,id=s,env=S wget -q --header \"Authorization: Bearer $S\" -O /got {url}/$S/a\n"
        );
        let output = build(&bench, &line, &["--proxy-network", "--secret", "id=s,src=secret"]);
        output.success().complains(&format!("- GET {url}/****/a -> 200"));
        assert_eq!(take(&seen), ["GET /hush-5d1c77/a"]);
        let predicate = provenance(&bench, &["--proxy-network", "--secret", "id=s,src=secret"]).to_string();
        assert!(predicate.contains(&format!("{url}/****/a")) && !predicate.contains("hush-5d1c77"), "{predicate}");
        let found = std::process::Command::new("grep").args(["-rl", "hush-5d1c77"]).arg(bench.store()).output();
        let files = String::from_utf8_lossy(&found.expect("grep runs").stdout).into_owned();
        // The file that was fetched says its own path.
        assert!(files.lines().all(|file| file.ends_with("/diff/got")), "{files}");
    });
}
