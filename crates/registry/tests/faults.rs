//! Registries that stumble: what is tried again, after how long, and what is taken up where it broke off.

mod support;

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stave_http::HttpError;
use stave_registry::{BlobSink, Cancel, PushProgress, RegistryError, Resolved, SystemClock};
use support::image::{Image, noise};
use support::server::{Answer, Asked, End, Server, ranged, registry};
use support::{Bench, amd64, reference, shown};

/// A registry with `image` whose answers to the nth request for the layer, from 0, are `layer`'s.
fn with_layer(image: Arc<Image>, layer: impl Fn(usize, &Asked, &[u8]) -> Answer + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |asked| {
        let blob = image.manifest.layers[0].digest.to_string();
        if asked.method == "GET" && asked.target.ends_with(&blob) {
            return layer(count.fetch_add(1, Ordering::SeqCst), asked, &image.blobs[1]);
        }
        registry(&image, asked)
    })
}

struct Fetched {
    result: Result<(), RegistryError>,
    bytes: Vec<u8>,
    ranges: Vec<String>,
    slept: Vec<u64>,
}

fn fetch(bench: &Bench, image: &Image, server: &Server) -> Fetched {
    let client = bench.client();
    let resolved =
        client.resolve(&reference(&format!("{}/app:1", server.address)), &amd64()).expect("the image is there");
    let mut bytes = Vec::new();
    let result = client.fetch_blob(&resolved, &image.manifest.layers[0], &mut bytes, &|_| ());
    let layer = format!("/v2/app/blobs/{}", image.manifest.layers[0].digest);
    let asked = server.asked();
    let ranges = asked.iter().filter(|asked| asked.target == layer).map(|asked| asked.header("range").to_owned());
    Fetched { result, bytes, ranges: ranges.collect(), slept: bench.clock.slept() }
}

fn image() -> Arc<Image> {
    Arc::new(Image::new(&[noise(7, 100_000)]))
}

/// F5: 5xx.
#[test]
fn a_server_that_is_busy_is_asked_again() {
    let (bench, image) = (Bench::new(), image());
    let server = with_layer(image.clone(), |nth, _, blob| match nth {
        0 | 1 => Answer::new(503, "busy"),
        _ => Answer::new(200, blob),
    });
    let fetched = fetch(&bench, &image, &server);
    fetched.result.expect("the third answer is good");
    assert_eq!(fetched.bytes, image.blobs[1]);
    assert_eq!(fetched.slept, [500, 1000]);
}

/// F5: 429, and dates of another decade.
#[test]
fn the_servers_own_wait_is_honoured_within_reason() {
    let (bench, image) = (Bench::new(), image());
    let server = with_layer(image.clone(), |nth, _, blob| match nth {
        0 => Answer::new(429, "").header("retry-after", "7"),
        1 => Answer::new(503, "").header("retry-after", "86400"),
        2 => Answer::new(503, "").header("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT"),
        _ => Answer::new(200, blob),
    });
    let fetched = fetch(&bench, &image, &server);
    fetched.result.expect("the fourth answer is good");
    assert_eq!(fetched.slept, [7000, 60_000, 2000]);
}

/// F5: 5xx for ever.
#[test]
fn patience_ends() {
    let (bench, image) = (Bench::new(), image());
    let server =
        with_layer(image.clone(), |_, _, _| Answer::new(500, r#"{"errors":[{"code":"UNKNOWN","message":"disk"}]}"#));
    let fetched = fetch(&bench, &image, &server);
    let error = fetched.result.expect_err("no answer is good");
    assert!(shown(&error).contains("the server answered 500: UNKNOWN: disk"), "{}", shown(&error));
    assert_eq!(fetched.slept, [500, 1000, 2000]);
    assert_eq!(fetched.ranges.len(), 4);
}

#[test]
fn a_refusal_is_final() {
    for status in [400, 404, 410, 451, 501] {
        let (bench, image) = (Bench::new(), image());
        let server = with_layer(image.clone(), move |_, _, _| Answer::new(status, ""));
        let fetched = fetch(&bench, &image, &server);
        assert!(
            matches!(fetched.result, Err(RegistryError::Http(HttpError::Status { status: found, .. })) if found == status)
        );
        assert_eq!((fetched.ranges.len(), fetched.slept.len()), (1, 0), "{status}");
    }
}

/// F5: truncated, RST.
#[test]
fn a_broken_transfer_goes_on_where_it_broke() {
    for end in [End::Cut(40_000), End::Reset(40_000)] {
        let (bench, image) = (Bench::new(), image());
        let server = with_layer(image.clone(), move |nth, asked, blob| match nth {
            0 => Answer::new(200, blob).ends(end),
            _ => ranged(blob, asked.header("range")),
        });
        let fetched = fetch(&bench, &image, &server);
        fetched.result.unwrap_or_else(|error| panic!("{end:?}: {}", shown(&error)));
        assert_eq!(fetched.bytes, image.blobs[1]);
        assert_eq!(fetched.ranges.len(), 2);
        // A reset may throw bytes away that had arrived.
        let from: usize = fetched.ranges[1]
            .strip_prefix("bytes=")
            .and_then(|rest| rest.strip_suffix('-'))
            .map_or(0, |from| from.parse().expect("a number"));
        assert!(from <= 40_000 && (from == 40_000 || end != End::Cut(40_000)), "{end:?}: {from}");
    }
}

/// F5: stall.
#[test]
fn a_stalled_transfer_goes_on_too() {
    let (mut bench, image) = (Bench::new(), image());
    bench.limits.idle_timeout = Duration::from_millis(150);
    let server = with_layer(image.clone(), |nth, asked, blob| match nth {
        0 => Answer::new(200, blob).ends(End::Stall(40_000)),
        _ => ranged(blob, asked.header("range")),
    });
    let fetched = fetch(&bench, &image, &server);
    fetched.result.expect("the second answer is good");
    assert_eq!(fetched.bytes, image.blobs[1]);
    assert_eq!(fetched.ranges, ["", "bytes=40000-"]);
}

#[test]
fn a_server_that_stalls_for_ever_is_given_up() {
    let (mut bench, image) = (Bench::new(), image());
    bench.limits.idle_timeout = Duration::from_millis(100);
    let server = with_layer(image.clone(), |_, _, blob| Answer::new(200, blob).ends(End::Stall(0)));
    let error = fetch(&bench, &image, &server).result.expect_err("no byte ever comes");
    assert!(shown(&error).contains("waiting for the next byte took longer than 0.1 s"), "{}", shown(&error));
}

#[test]
fn progress_restores_patience_but_not_for_ever() {
    let (mut bench, image) = (Bench::new(), image());
    let server = with_layer(image.clone(), |_, asked, blob| ranged(blob, asked.header("range")).ends(End::Cut(10_000)));
    let fetched = fetch(&bench, &image, &server);
    fetched.result.expect("ten pieces make the whole");
    assert_eq!(fetched.ranges.len(), 10);
    bench.limits.resumptions_max = 5;
    let fetched = fetch(&bench, &image, &server);
    fetched.result.expect_err("five are too few");
    assert!(fetched.bytes.is_empty(), "the sink was told to restart");
}

#[test]
fn a_server_that_ignores_the_range_sends_the_whole_again() {
    let (bench, image) = (Bench::new(), image());
    let server = with_layer(image.clone(), |nth, _, blob| {
        Answer::new(200, blob).ends(if nth == 0 { End::Cut(40_000) } else { End::Whole })
    });
    let fetched = fetch(&bench, &image, &server);
    fetched.result.expect("the whole comes");
    assert_eq!(fetched.bytes, image.blobs[1]);
}

/// F5: bad 206.
#[test]
fn a_part_that_is_not_the_missing_one_is_refused() {
    let wrong: [fn(&[u8]) -> Answer; 5] = [
        |blob| Answer::new(206, &blob[40_000..]),
        |blob| Answer::new(206, &blob[30_000..]).header("content-range", "bytes 30000-99999/100000"),
        |blob| Answer::new(206, &blob[40_000..]).header("content-range", "bytes 40000-99999/100001"),
        |blob| Answer::new(206, &blob[40_000..]).header("content-range", "bytes 40000-100000/100001"),
        |_| Answer::new(416, "").header("content-range", "bytes */100000"),
    ];
    for (case, part) in wrong.into_iter().enumerate() {
        let (bench, image) = (Bench::new(), image());
        let server = with_layer(image.clone(), move |nth, _, blob| match nth {
            0 => Answer::new(200, blob).ends(End::Cut(40_000)),
            1 => part(blob),
            _ => Answer::new(200, blob),
        });
        let fetched = fetch(&bench, &image, &server);
        fetched.result.unwrap_or_else(|error| panic!("case {case}: {}", shown(&error)));
        assert_eq!(fetched.bytes, image.blobs[1], "case {case}");
        assert_eq!(fetched.ranges, ["", "bytes=40000-", ""], "case {case}");
    }
}

/// F5: bad 206 with the right header.
#[test]
fn a_part_of_other_bytes_is_found_out_and_the_whole_fetched() {
    let (bench, image) = (Bench::new(), image());
    let server = with_layer(image.clone(), |nth, asked, blob| match nth {
        0 => Answer::new(200, blob).ends(End::Cut(40_000)),
        1 => {
            let mut other = ranged(blob, asked.header("range"));
            other.body[5] ^= 1;
            other
        }
        _ => Answer::new(200, blob),
    });
    let fetched = fetch(&bench, &image, &server);
    fetched.result.expect("the third answer is good");
    assert_eq!(fetched.bytes, image.blobs[1]);
    assert_eq!(fetched.ranges, ["", "bytes=40000-", ""]);
}

#[test]
fn a_body_that_ends_with_the_connection_may_be_cut() {
    let (bench, image) = (Bench::new(), image());
    let server = with_layer(image.clone(), |nth, asked, blob| match nth {
        0 => Answer::new(200, blob).without_length().ends(End::Cut(40_000)),
        _ => ranged(blob, asked.header("range")).without_length(),
    });
    let fetched = fetch(&bench, &image, &server);
    fetched.result.expect("the rest comes");
    assert_eq!(fetched.bytes, image.blobs[1]);
}

#[test]
fn a_mirror_without_the_layer_is_no_obstacle() {
    let (bench, image) = (Bench::new(), image());
    let mirror = with_layer(image.clone(), |_, _, _| Answer::new(404, ""));
    let for_server = image.clone();
    let origin = Server::start(move |asked| registry(&for_server, asked));
    let conf = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:1\"\n[[registry.mirror]]\nlocation = \"{}/mirrored\"\n",
        origin.address, mirror.address
    );
    bench.file("etc/containers/registries.conf", &conf);
    let client = bench.client();
    let resolved = client.resolve(&reference(&format!("{}/app:1", origin.address)), &amd64()).expect("a mirror has it");
    assert!(mirror.lines().contains(&"GET /v2/mirrored/app/manifests/1".to_owned()), "{:?}", mirror.lines());
    assert_eq!(origin.lines(), [] as [&str; 0]);
    let mut bytes = Vec::new();
    client.fetch_blob(&resolved, &image.manifest.layers[0], &mut bytes, &|_| ()).expect("the registry has it");
    assert_eq!(bytes, image.blobs[1]);
}

#[test]
fn addresses_of_both_kinds_are_understood() {
    let (bench, image) = (Bench::new(), image());
    let for_server = image.clone();
    let Some(server) = Server::start_on("[::1]:0", move |asked| registry(&for_server, asked)) else {
        eprintln!("skipped: this machine has no IPv6 on loopback");
        return;
    };
    let found = bench.client().resolve(&reference(&format!("[::1]:{}/app:1", server.port)), &amd64());
    assert_eq!(found.expect("the image is there").manifest, image.manifest);
    assert!(server.asked().iter().all(|asked| asked.header("host") == format!("[::1]:{}", server.port)));
}

#[test]
fn when_no_mirror_works_all_are_named() {
    let bench = Bench::new();
    let conf = "[[registry]]\nlocation = \"127.0.0.1:2\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:1\"\n";
    bench.file("etc/containers/registries.conf", conf);
    let error = bench.client().resolve(&reference("127.0.0.1:2/app"), &amd64()).expect_err("nobody is there");
    let text = shown(&error);
    assert!(text.starts_with("no mirror of `127.0.0.1:2/app:latest` works (127.0.0.1:1: "), "{text}");
    assert!(text.contains("Connection refused") && text.contains("127.0.0.1:2/v2/"), "{text}");
    // A dead mirror is left at once, and a registry where nobody listens is not waited for long.
    assert_eq!(bench.clock.slept(), [500, 1000]);
}

/// A sink that fails, as a full disk does.
struct FullDisk(usize);

impl io::Write for FullDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobSink for FullDisk {
    fn restart(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn resolved(bench: &Bench, server: &Server) -> Resolved {
    bench.client().resolve(&reference(&format!("{}/app:1", server.address)), &amd64()).expect("the image is there")
}

#[test]
fn a_full_disk_is_not_the_registrys_fault() {
    let (bench, image) = (Bench::new(), image());
    let server = with_layer(image.clone(), |_, _, blob| Answer::new(200, blob));
    let found = resolved(&bench, &server);
    let error = bench.client().fetch_blob(&found, &image.manifest.layers[0], &mut FullDisk(10), &|_| ());
    assert!(matches!(error, Err(RegistryError::Sink { .. })), "{error:?}");
    assert_eq!(bench.clock.slept(), [] as [u64; 0]);
}

#[test]
fn cancelling_ends_a_blocked_transfer() {
    let (bench, image) = (Bench::new(), image());
    let server = with_layer(image.clone(), |_, _, blob| Answer::new(200, blob).ends(End::Stall(40_000)));
    let found = resolved(&bench, &server);
    let cancel = Cancel::new();
    let client = bench.client().with_cancel(cancel.clone());
    // The server stalls after these bytes, for twenty seconds as far as the client is concerned.
    let error = client.fetch_blob(&found, &image.manifest.layers[0], &mut Vec::new(), &|now| {
        if now == 40_000 {
            cancel.cancel();
        }
    });
    assert!(matches!(error, Err(RegistryError::Http(HttpError::Cancelled))), "{error:?}");
    assert!(matches!(
        client.resolve(&reference("127.0.0.1:1/x"), &amd64()),
        Err(RegistryError::Http(HttpError::Cancelled))
    ));
}

#[test]
fn cancelling_from_another_thread_wakes_a_blocked_read() {
    let (bench, image) = (Bench::new(), image());
    let cancel = Cancel::new();
    let other = cancel.clone();
    let server = with_layer(image.clone(), move |_, _, blob| {
        let other = other.clone();
        std::thread::spawn(move || other.cancel());
        Answer::new(200, blob).ends(End::Stall(0))
    });
    let found = resolved(&bench, &server);
    let client = bench.client().with_cancel(cancel);
    let error = client.fetch_blob(&found, &image.manifest.layers[0], &mut Vec::new(), &|_| ());
    assert!(matches!(error, Err(RegistryError::Http(HttpError::Cancelled))), "{error:?}");
}

/// F5: Ctrl-C in a wait.
#[test]
fn cancelling_ends_a_wait_between_attempts() {
    let (bench, image) = (Bench::new(), image());
    let cancel = Cancel::new();
    let other = cancel.clone();
    let server = with_layer(image.clone(), move |_, _, _| {
        let other = other.clone();
        std::thread::spawn(move || other.cancel());
        Answer::new(503, "").header("retry-after", "60")
    });
    let found = resolved(&bench, &server);
    // With the real clock: only the cancellation keeps this from taking a minute.
    let client = bench.client().with_clock(Arc::new(SystemClock::default())).with_cancel(cancel);
    let error = client.fetch_blob(&found, &image.manifest.layers[0], &mut Vec::new(), &|_| ());
    assert!(matches!(error, Err(RegistryError::Http(HttpError::Cancelled))), "{error:?}");
}

/// A client can be shared by all threads of a command.
const fn shared<T: Send + Sync>() {}
const _: () = shared::<stave_registry::Client>();

/// A registry that takes uploads, with `fault` before it.
fn taking(
    fault: impl Fn(usize, &Asked) -> Option<Answer> + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<String>>>) {
    let stored: Arc<Mutex<Vec<String>>> = Arc::default();
    let (has, count) = (stored.clone(), AtomicUsize::new(0));
    let server = Server::start(move |asked| {
        let mut has = has.lock().expect("no test thread panics");
        let last = asked.target.rsplit(['/', '=']).next().expect("there is a last part").replace("%3A", ":");
        let upload = asked.method == "PUT";
        let number = count.fetch_add(1, Ordering::SeqCst);
        let fault = fault(number, asked);
        if upload && fault.as_ref().is_none_or(|answer| answer.end == End::Silent) {
            has.push(if asked.target.contains("/manifests/") { "manifest".to_owned() } else { last.clone() });
        }
        fault.unwrap_or_else(|| match asked.method.as_str() {
            "HEAD" if asked.target == "/v2/" => Answer::new(200, ""),
            "HEAD" if has.contains(&last) => Answer::new(200, ""),
            "HEAD" => Answer::new(404, ""),
            "POST" => Answer::new(202, "").header("location", format!("/upload/{number}?_state=s")),
            _ => Answer::new(201, ""),
        })
    });
    (server, stored)
}

fn push(bench: &Bench, image: &Image, server: &Server) -> Result<Vec<PushProgress>, RegistryError> {
    let seen = Mutex::new(Vec::new());
    bench.client().push(&reference(&format!("{}/app:1", server.address)), &image.push(), &|_, progress| {
        if !matches!(progress, PushProgress::Sent(_)) {
            seen.lock().expect("no test thread panics").push(progress);
        }
    })?;
    Ok(seen.into_inner().expect("no test thread panics"))
}

/// F5: lost 201.
#[test]
fn a_lost_confirmation_is_found_out() {
    let (bench, image) = (Bench::new(), image());
    let lost = AtomicUsize::new(0);
    let (server, stored) = taking(move |_, asked| {
        let first = asked.method == "PUT" && lost.fetch_add(1, Ordering::SeqCst) == 0;
        first.then(|| Answer::new(201, "").ends(End::Silent))
    });
    assert_eq!(push(&bench, &image, &server).expect("the push works"), [PushProgress::Done; 2]);
    let puts = server.lines().iter().filter(|line| line.starts_with("PUT /upload")).count();
    assert_eq!(puts, 2, "nothing is sent twice: {:?}", server.lines());
    assert_eq!(stored.lock().expect("no test thread panics").last().map(String::as_str), Some("manifest"));
}

#[test]
fn an_upload_that_broke_starts_anew() {
    for status in [500, 404, 416] {
        let (bench, image) = (Bench::new(), image());
        let failed = AtomicUsize::new(0);
        let (server, stored) = taking(move |_, asked| {
            let first = asked.target.starts_with("/upload") && failed.fetch_add(1, Ordering::SeqCst) == 0;
            first.then(|| Answer::new(status, ""))
        });
        push(&bench, &image, &server).unwrap_or_else(|error| panic!("{status}: {}", shown(&error)));
        assert_eq!(stored.lock().expect("no test thread panics").len(), 3, "{status}");
        assert_eq!(bench.clock.slept(), [500], "{status}");
    }
}

#[test]
fn a_refused_upload_is_explained_and_no_manifest_follows() {
    let (bench, image) = (Bench::new(), image());
    let (server, _) = taking(|_, asked| {
        let body = r#"{"errors":[{"code":"DENIED","message":"quota exceeded"}]}"#;
        (asked.method == "POST").then(|| Answer::new(413, body))
    });
    let error = push(&bench, &image, &server).expect_err("the registry refuses");
    assert!(shown(&error).contains("the server answered 413: DENIED: quota exceeded"), "{}", shown(&error));
    assert!(!server.lines().iter().any(|line| line.contains("/manifests/")), "{:?}", server.lines());
}

#[test]
fn a_connection_that_dies_at_any_request_is_survived() {
    let total = {
        let (bench, image) = (Bench::new(), image());
        let (server, _) = taking(|_, _| None);
        push(&bench, &image, &server).expect("the push works");
        server.asked().len()
    };
    for nth in 1..total {
        let (mut bench, image) = (Bench::new(), image());
        bench.limits.uploads_parallel_max = 1;
        let (server, stored) = taking(move |number, _| (number == nth).then(|| Answer::new(200, "").ends(End::Silent)));
        push(&bench, &image, &server).unwrap_or_else(|error| panic!("request {nth}: {}", shown(&error)));
        assert_eq!(stored.lock().expect("no test thread panics").last().map(String::as_str), Some("manifest"), "{nth}");
    }
}

#[test]
fn a_blob_that_cannot_be_read_is_not_the_registrys_fault() {
    let (bench, image) = (Bench::new(), image());
    let (server, _) = taking(|_, _| None);
    let mut push = image.push();
    push.blobs[1].1 = Box::new(|| Ok(Box::new(io::empty().take(0)) as Box<dyn Read + Send>));
    let error = bench.client().push(&reference(&format!("{}/app:1", server.address)), &push, &|_, _| ());
    let error = error.expect_err("the layer is shorter than its descriptor says");
    assert!(matches!(error, RegistryError::Source { .. }), "{error:?}");
    assert!(shown(&error).contains("shorter"), "{}", shown(&error));
}

#[test]
fn a_manifest_under_the_same_name_is_not_sent_again() {
    let (bench, image) = (Bench::new(), image());
    let for_server = image.clone();
    let server = Server::start(move |asked| registry(&for_server, asked));
    assert_eq!(push(&bench, &image, &server).expect("the push works"), [PushProgress::Exists; 2]);
    assert!(server.lines().iter().all(|line| line.starts_with("HEAD ")), "{:?}", server.lines());
}

/// F5: token expiry.
#[test]
fn a_token_that_ends_during_an_upload_is_replaced_and_the_upload_repeated() {
    let (mut bench, image) = (Bench::new(), image());
    bench.limits.uploads_parallel_max = 1;
    let (tokens, puts) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (server, stored) = taking(move |_, asked| {
        if asked.target.starts_with("/token") {
            assert!(asked.target.contains("scope=repository%3Aapp%3Apull%2Cpush"), "{}", asked.target);
            let number = tokens.fetch_add(1, Ordering::SeqCst);
            return Some(Answer::new(200, format!(r#"{{"token":"t{number}"}}"#)));
        }
        let first_put = asked.method == "PUT" && puts.fetch_add(1, Ordering::SeqCst) == 0;
        let good = asked.header("authorization").starts_with("Bearer t") && !first_put;
        let realm = format!("Bearer realm=\"http://{}/token\"", asked.header("host"));
        (asked.target != "/v2/" && !good).then(|| Answer::new(401, "").header("www-authenticate", realm))
    });
    push(&bench, &image, &server).unwrap_or_else(|error| panic!("{}", shown(&error)));
    assert_eq!(stored.lock().expect("no test thread panics").len(), 3);
    let lines = server.lines();
    assert_eq!(lines.iter().filter(|line| line.ends_with("/token")).count(), 2, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("POST ")).count(), 3, "{lines:?}");
}

/// F5: token expiry.
#[test]
fn a_token_that_ended_is_replaced() {
    let (bench, image) = (Bench::new(), image());
    let (for_server, tokens) = (image.clone(), AtomicUsize::new(0));
    let server = Server::start(move |asked| {
        if asked.target.starts_with("/token") {
            let number = tokens.fetch_add(1, Ordering::SeqCst);
            return Answer::new(200, format!(r#"{{"token":"t{number}","expires_in":100}}"#));
        }
        let newest = format!("Bearer t{}", tokens.load(Ordering::SeqCst).wrapping_sub(1));
        if asked.target != "/v2/" && asked.header("authorization") != newest {
            let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", asked.header("host"));
            return Answer::new(401, "").header("www-authenticate", realm);
        }
        registry(&for_server, asked)
    });
    let client = bench.client();
    let name = reference(&format!("{}/app:1", server.address));
    let tokens = || server.lines().iter().filter(|line| line.ends_with("/token")).count();
    client.resolve(&name, &amd64()).expect("a token is given");
    assert_eq!(tokens(), 1);
    client.resolve(&name, &amd64()).expect("the token is good");
    assert_eq!(tokens(), 1);
    bench.clock.advance(Duration::from_secs(91));
    client.resolve(&name, &amd64()).expect("another token is given");
    assert_eq!(tokens(), 2);
}

/// F027.
#[test]
fn no_more_bodies_move_at_once_than_the_limit_says() {
    let mut bench = Bench::new();
    bench.limits.transfers_per_server_max = 2;
    let image = Arc::new(Image::new(&(0..8).map(|seed| noise(seed, 50_000)).collect::<Vec<_>>()));
    let (for_server, now, most) = (image.clone(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (moving, seen) = (now.clone(), most.clone());
    let server = Server::start(move |asked| {
        let layer = asked.method == "GET" && asked.target.contains("/blobs/");
        if layer {
            seen.fetch_max(moving.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Long enough for everybody who may come to be here.
            std::thread::sleep(Duration::from_millis(30));
            moving.fetch_sub(1, Ordering::SeqCst);
        }
        registry(&for_server, asked)
    });
    let found = resolved(&bench, &server);
    let client = bench.client();
    std::thread::scope(|scope| {
        for layer in &image.manifest.layers {
            let (client, found) = (&client, &found);
            scope.spawn(move || client.fetch_blob(found, layer, &mut Vec::new(), &|_| ()).expect("the layer is there"));
        }
    });
    assert_eq!((most.load(Ordering::SeqCst), now.load(Ordering::SeqCst)), (2, 0));
}
