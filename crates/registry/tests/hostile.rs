//! Registries that lie: who sees credentials, which bytes are believed, what is never followed.

mod support;

use std::sync::Arc;

use stave_http::HttpError;
use stave_oci::{BlobDigest, Descriptor, media_type};
use stave_registry::error::SizeSeen;
use stave_registry::{PushProgress, RegistryError, Resolved};
use support::image::{Image, noise};
use support::server::{Answer, Asked, End, Server, registry};
use support::{Bench, amd64, reference, shown};

/// `me:secret`.
const AUTH: &str = "bWU6c2VjcmV0";

fn image() -> Arc<Image> {
    Arc::new(Image::new(&[noise(9, 50_000)]))
}

fn serving(image: &Arc<Image>, before: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Server {
    let image = image.clone();
    Server::start(move |asked| before(asked).unwrap_or_else(|| registry(&image, asked)))
}

fn serving_tls(image: &Arc<Image>, before: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Server {
    let image = image.clone();
    Server::start_tls(false, move |asked| before(asked).unwrap_or_else(|| registry(&image, asked)))
}

fn authority(bench: &Bench) -> String {
    std::fs::read_to_string(format!("{}/test_data/tls/ca.crt", env!("CARGO_MANIFEST_DIR")))
        .map(|text| bench.file("etc/ssl/certs/ca-certificates.crt", &text))
        .map(|path| path.display().to_string())
        .expect("the test certificates are there")
}

fn pull(bench: &Bench, name: &str) -> Result<Resolved, RegistryError> {
    bench.client().resolve(&reference(name), &amd64())
}

/// Everything that any of the requests had in its header or its body.
fn everything(server: &Server) -> String {
    let shown = |asked: &Asked| format!("{asked:?}{}", String::from_utf8_lossy(&asked.body));
    server.asked().iter().map(shown).collect::<Vec<_>>().concat()
}

/// Whether a server ever saw the password, plain or encoded.
fn saw_secret(server: &Server) -> bool {
    let all = everything(server);
    all.contains(AUTH) || all.contains("secret")
}

/// A18: realm hijack.
#[test]
fn a_token_server_on_another_host_gets_no_credentials_over_a_plain_connection() {
    let (bench, image) = (Bench::new(), image());
    let evil = Server::start(|_| Answer::new(200, r#"{"token":"x"}"#));
    let realm = format!("Bearer realm=\"http://localhost:{}/token\",service=\"s\"", evil.port);
    let server = serving(&image, move |asked| {
        (asked.target != "/v2/").then(|| Answer::new(401, "").header("www-authenticate", realm.clone()))
    });
    bench.auth(&server.address, AUTH);
    let error = pull(&bench, &format!("{}/app:1", server.address)).expect_err("the credentials stay here");
    assert!(matches!(error, RegistryError::Realm { .. }), "{error:?}");
    assert!(evil.asked().is_empty() && !saw_secret(&server));

    // Without credentials there is nothing to lose: asking for a token is harmless.
    let anonymous = Bench::new();
    drop(pull(&anonymous, &format!("{}/app:1", server.address)));
    assert_eq!(evil.lines(), ["GET /token"]);
}

#[test]
fn a_token_server_gets_the_credentials_of_its_registry() {
    let (bench, image) = (Bench::new(), image());
    authority(&bench);
    let tokens = Server::start_tls(false, |asked| {
        assert_eq!(asked.header("authorization"), format!("Basic {AUTH}"));
        assert!(asked.target.contains("service=s%20s&scope=repository%3Aapp%3Apull&account=me"), "{}", asked.target);
        Answer::new(200, r#"{"access_token":"good"}"#)
    });
    let realm = format!("Bearer realm=\"https://auth.test:{}/token\",service=\"s s\"", tokens.port);
    let server = serving_tls(&image, move |asked| {
        (asked.header("authorization") != "Bearer good")
            .then(|| Answer::new(401, "").header("www-authenticate", realm.clone()))
    });
    let host = format!("registry.test:{}", server.port);
    bench.auth(&host, AUTH);
    pull(&bench, &format!("{host}/app:1")).unwrap_or_else(|error| panic!("{}", shown(&error)));
    assert_eq!(tokens.lines(), ["GET /token"]);
    assert!(!saw_secret(&server), "the registry sees tokens only");
}

/// A18: http downgrade of the realm.
#[test]
fn a_token_server_without_encryption_is_refused_even_without_credentials() {
    let (bench, image) = (Bench::new(), image());
    authority(&bench);
    let evil = Server::start(|_| Answer::new(200, r#"{"token":"x"}"#));
    let realm = format!("Bearer realm=\"http://{}/token\"", evil.address);
    let server = serving_tls(&image, move |_| Some(Answer::new(401, "").header("www-authenticate", realm.clone())));
    let error = pull(&bench, &format!("registry.test:{}/app:1", server.port)).expect_err("that would be a downgrade");
    assert!(shown(&error).contains("which is not encrypted, unlike itself"), "{}", shown(&error));
    assert!(evil.asked().is_empty());
}

#[test]
fn refresh_tokens_are_posted_and_never_printed() {
    let (bench, image) = (Bench::new(), image());
    let server = serving(&image, |asked| {
        if asked.line() == "POST /token" {
            let form = String::from_utf8_lossy(&asked.body);
            assert_eq!(
                form,
                "grant_type=refresh_token&client_id=stave&service=s&scope=repository%3Aapp%3Apull&refresh_token=re%26fresh"
            );
            return Some(Answer::new(200, r#"{"access_token":"good","expires_in":300}"#));
        }
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", asked.header("host"));
        (asked.target != "/v2/" && asked.header("authorization") != "Bearer good")
            .then(|| Answer::new(401, "").header("www-authenticate", realm))
    });
    let mut environment = bench.environment();
    environment.docker_auth_config =
        Some(format!(r#"{{"auths":{{"{}":{{"identitytoken":"re&fresh"}}}}}}"#, server.address));
    let config = stave_registry::Config::load(&environment).expect("the configuration is valid");
    let client = stave_registry::Client::new(config, bench.limits.clone());
    client.resolve(&reference(&format!("{}/app:1", server.address)), &amd64()).expect("the token is good");
    assert!(server.asked().iter().all(|asked| !asked.target.contains("fresh")));
}

/// A18: cross-host redirect.
#[test]
fn a_redirect_to_another_host_loses_the_credentials_for_good() {
    let (bench, image) = (Bench::new(), image());
    let layer = image.manifest.layers[0].digest.to_string();
    let back = Arc::new(std::sync::Mutex::new(String::new()));
    let (for_cdn, bytes) = (back.clone(), image.blobs[1].clone());
    // First elsewhere, then back: still without.
    let cdn =
        Server::start(move |_| Answer::new(307, "").header("location", for_cdn.lock().expect("no panic").clone()));
    let (cdn_port, cdn_layer) = (cdn.port, layer.clone());
    let server = serving(&image, move |asked| {
        if asked.target == "/v2/" {
            return None;
        }
        if asked.target.starts_with("/direct") {
            assert_eq!(asked.header("authorization"), "", "credentials came back after a detour");
            return Some(Answer::new(200, bytes.clone()));
        }
        if asked.header("authorization") != format!("Basic {AUTH}") {
            return Some(Answer::new(401, "").header("www-authenticate", "Basic realm=\"x\""));
        }
        let location = format!("http://localhost:{cdn_port}/blob?X-Signature=hidden");
        asked.target.ends_with(&cdn_layer).then(|| Answer::new(307, "").header("location", location))
    });
    *back.lock().expect("no panic") = format!("http://{}/direct", server.address);
    bench.auth(&server.address, AUTH);
    let client = bench.client();
    let found = client.resolve(&reference(&format!("{}/app:1", server.address)), &amd64()).expect("it is there");
    let mut fetched = Vec::new();
    client.fetch_blob(&found, &image.manifest.layers[0], &mut fetched, &|_| ()).expect("the detour is followed");
    assert_eq!(fetched, image.blobs[1]);
    assert!(saw_secret(&server) && !saw_secret(&cdn));
}

/// A18: a 401 from another host.
#[test]
fn another_hosts_demand_for_credentials_is_not_met() {
    let (bench, image) = (Bench::new(), image());
    let evil = Server::start(|_| Answer::new(401, "").header("www-authenticate", "Basic realm=\"x\""));
    let location = format!("http://localhost:{}/?sig=hidden", evil.port);
    let server = serving(&image, move |asked| {
        asked.target.contains("/blobs/").then(|| Answer::new(302, "").header("location", location.clone()))
    });
    bench.auth(&server.address, AUTH);
    bench.auth(&format!("localhost:{}", evil.port), AUTH);
    let error = pull(&bench, &format!("{}/app:1", server.address)).expect_err("nobody gives the blob");
    assert!(matches!(error, RegistryError::Http(HttpError::Status { status: 401, .. })), "{error:?}");
    assert!(!format!("{error:?} {}", shown(&error)).contains("hidden"), "queries are not printed: {error:?}");
    assert!(!saw_secret(&evil));
}

/// A18: http downgrade.
#[test]
fn a_redirect_away_from_encryption_is_refused() {
    let (bench, image) = (Bench::new(), image());
    authority(&bench);
    let plain = Server::start(|_| Answer::new(200, ""));
    let location = format!("http://{}/x", plain.address);
    let server = serving_tls(&image, move |asked| {
        asked.target.contains("/blobs/").then(|| Answer::new(307, "").header("location", location.clone()))
    });
    let error = pull(&bench, &format!("registry.test:{}/app:1", server.port)).expect_err("that would be a downgrade");
    assert!(shown(&error).contains("which is not encrypted"), "{}", shown(&error));
    assert!(plain.asked().is_empty());
}

#[test]
fn redirects_end() {
    for (location, words) in [
        ("/v2/app/manifests/1", "there were more than 10 of them"),
        ("file:///etc/passwd", "its address is not valid: address `file` starts with neither"),
        ("https://user:pass@host/", "user name or a password"),
        ("", "cannot follow"),
    ] {
        let (bench, image) = (Bench::new(), image());
        let server = serving(&image, move |asked| {
            asked.target.contains("/manifests/").then(|| Answer::new(302, "").header("location", location))
        });
        let error = pull(&bench, &format!("{}/app:1", server.address)).expect_err("it leads nowhere");
        assert!(shown(&error).contains(words), "{}", shown(&error));
        assert!(server.asked().len() <= 13, "{}", server.asked().len());
    }
}

/// A18: `Location`.
#[test]
fn an_upload_to_another_host_carries_no_credentials() {
    let (bench, image) = (Bench::new(), image());
    let other = Server::start(|_| Answer::new(201, ""));
    let port = other.port;
    let server = serving(&image, move |asked| {
        if asked.target != "/v2/" && asked.header("authorization").is_empty() {
            return Some(Answer::new(401, "").header("www-authenticate", "Basic realm=\"x\""));
        }
        match asked.method.as_str() {
            "HEAD" if asked.target != "/v2/" => Some(Answer::new(404, "")),
            "POST" => Some(Answer::new(202, "").header("location", format!("http://localhost:{port}/up"))),
            _ => None,
        }
    });
    bench.auth(&server.address, AUTH);
    let name = reference(&format!("{}/app:1", server.address));
    bench.client().push(&name, &image.push(), &|_, _| ()).expect("the push works");
    assert_eq!(other.lines(), ["PUT /up", "PUT /up"]);
    assert!(saw_secret(&server) && !saw_secret(&other));
}

/// A18: http downgrade of `Location`.
#[test]
fn an_upload_away_from_encryption_is_refused() {
    let (bench, image) = (Bench::new(), image());
    authority(&bench);
    let plain = Server::start(|_| Answer::new(201, ""));
    let location = format!("http://{}/up", plain.address);
    let server = serving_tls(&image, move |asked| match asked.method.as_str() {
        "HEAD" => Some(Answer::new(404, "")),
        "POST" => Some(Answer::new(202, "").header("location", location.clone())),
        _ => None,
    });
    let name = reference(&format!("registry.test:{}/app:1", server.port));
    let error = bench.client().push(&name, &image.push(), &|_, _| ()).expect_err("that would be a downgrade");
    assert!(shown(&error).contains("which is not encrypted"), "{}", shown(&error));
    assert!(plain.asked().is_empty());
}

#[test]
fn plain_http_is_spoken_only_where_it_is_allowed() {
    let (bench, image) = (Bench::new(), image());
    let server = serving(&image, |_| None);
    let name = format!("plain.test:{}/app:1", server.port);
    let error = pull(&bench, &name).expect_err("the registry has no TLS");
    assert!(shown(&error).contains("the server does not speak TLS"), "{}", shown(&error));
    assert!(server.asked().is_empty());
    let conf = format!("[[registry]]\nlocation = \"plain.test:{}\"\ninsecure = true\n", server.port);
    bench.file("etc/containers/registries.conf", &conf);
    pull(&bench, &name).expect("the user allows it");
}

#[test]
fn certificates_are_checked() {
    let (bench, image) = (Bench::new(), image());
    let server = serving_tls(&image, |_| None);
    let name = format!("registry.test:{}/app:1", server.port);
    let stranger = std::fs::read_to_string(format!("{}/test_data/tls/stranger.crt", env!("CARGO_MANIFEST_DIR")));
    let trusted = bench.file("etc/ssl/certs/ca-certificates.crt", &stranger.expect("the test certificates are there"));
    let error = pull(&bench, &name).expect_err("nobody vouches for the registry");
    assert!(shown(&error).contains("TLS failed") && shown(&error).contains("UnknownIssuer"), "{}", shown(&error));
    assert_eq!(bench.clock.slept(), [] as [u64; 0], "asking again would not help");

    // The authority, but for this registry only.
    let folder = format!("etc/docker/certs.d/registry.test:{}", server.port);
    let authority = std::fs::read_to_string(authority(&Bench::new())).expect("the test certificates are there");
    bench.file(&format!("{folder}/ca.crt"), &authority);
    pull(&bench, &name).unwrap_or_else(|error| panic!("{}", shown(&error)));
    let other = format!("other.test:{}/app:1", server.port);
    bench.file("etc/hosts", "127.0.0.1 registry.test other.test\n");
    std::fs::write(&trusted, &authority).expect("the file can be written");
    let error = pull(&bench, &other).expect_err("the certificate is for another name");
    assert!(shown(&error).contains("TLS failed"), "{}", shown(&error));

    // Or none at all, because the user says so.
    std::fs::remove_file(&trusted).expect("the file was there");
    bench.file(
        "etc/containers/registries.conf",
        &format!("[[registry]]\nlocation = \"other.test:{}\"\ninsecure = true\n", server.port),
    );
    pull(&bench, &other).unwrap_or_else(|error| panic!("{}", shown(&error)));
}

/// F5: a clock that is ten years off, in either direction.
#[test]
fn a_certificate_of_another_time_is_refused_once_and_the_clock_asked_about() {
    for certificate in ["expired.crt", "future.crt"] {
        let (bench, image) = (Bench::new(), image());
        let server = Server::start_tls_as((certificate, "clock.key"), move |asked| registry(&image, asked));
        let authority = std::fs::read_to_string(format!("{}/test_data/tls/clock-ca.crt", env!("CARGO_MANIFEST_DIR")));
        bench.file("etc/ssl/certs/ca-certificates.crt", &authority.expect("the test certificates are there"));
        let error = pull(&bench, &format!("registry.test:{}/app:1", server.port)).expect_err("it is not valid now");
        let text = shown(&error);
        assert!(
            text.contains("TLS failed") && text.ends_with("(is this machine's clock right?)"),
            "{certificate}: {text}"
        );
        assert_eq!(bench.clock.slept(), [] as [u64; 0], "asking again would not help");
        assert!(server.asked().is_empty());
    }
}

#[test]
fn client_certificates_are_shown() {
    let (bench, image) = (Bench::new(), image());
    let for_server = image.clone();
    let server = Server::start_tls(true, move |asked| registry(&for_server, asked));
    let name = format!("registry.test:{}/app:1", server.port);
    let folder = format!("home/.config/containers/certs.d/registry.test:{}", server.port);
    let copy = |from: &str, to: &str| {
        let text = std::fs::read_to_string(format!("{}/test_data/tls/{from}", env!("CARGO_MANIFEST_DIR")));
        bench.file(&format!("{folder}/{to}"), &text.expect("the test certificates are there"))
    };
    copy("ca.crt", "ca.crt");
    pull(&bench, &name).expect_err("the registry wants a certificate");
    copy("client.crt", "client.cert");
    let error = pull(&bench, &name).expect_err("there is no key");
    assert!(shown(&error).contains("client.cert` has no matching `.key` file"), "{}", shown(&error));
    // A registry that may be spoken to in the clear is not, because of what is wrong here.
    let conf = format!("[[registry]]\nlocation = \"registry.test:{}\"\ninsecure = true\n", server.port);
    bench.file("etc/containers/registries.conf", &conf);
    let error = pull(&bench, &name).expect_err("there is no key");
    assert!(shown(&error).contains("client.cert` has no matching `.key` file"), "{}", shown(&error));
    bench.file("etc/containers/registries.conf", "");
    copy("server.key", "client.key");
    let error = pull(&bench, &name).expect_err("the key is another's");
    assert!(shown(&error).contains("does not belong to its certificate"), "{}", shown(&error));
    copy("client.key", "client.key");
    pull(&bench, &name).unwrap_or_else(|error| panic!("{}", shown(&error)));
}

/// Fetches the only layer from a server that answers `layer` to every request for it.
fn layer(answer: impl Fn(&[u8]) -> Answer + Send + Sync + 'static) -> (Result<(), RegistryError>, Vec<u8>, usize) {
    let (bench, image) = (Bench::new(), image());
    let digest = image.manifest.layers[0].digest.to_string();
    let (for_server, wanted) = (image.clone(), digest.clone());
    let server = serving(&image, move |asked| asked.target.ends_with(&wanted).then(|| answer(&for_server.blobs[1])));
    let client = bench.client();
    let found = client.resolve(&reference(&format!("{}/app:1", server.address)), &amd64()).expect("it is there");
    let mut bytes = Vec::new();
    let result = client.fetch_blob(&found, &image.manifest.layers[0], &mut bytes, &|_| ());
    let requests = server.asked().iter().filter(|asked| asked.target.ends_with(&digest)).count();
    (result, bytes, requests)
}

/// A19.
#[test]
fn a_flipped_byte_is_found() {
    let (result, bytes, requests) = layer(|blob| {
        let mut other = blob.to_vec();
        other[49_999] ^= 1;
        Answer::new(200, other)
    });
    let error = result.expect_err("the digest is wrong");
    let RegistryError::Digest { expected, actual, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*expected, image().manifest.layers[0].digest);
    assert!(shown(&error).contains(&format!("expected {expected}, got {actual}")), "{}", shown(&error));
    assert!(bytes.is_empty(), "the sink was told to discard them");
    assert_eq!(requests, 1, "asking again would not help");
}

/// A19: short and long.
#[test]
fn a_blob_of_another_length_is_refused() {
    let (result, bytes, requests) = layer(|blob| Answer::new(200, [blob, b"\0"].concat()));
    assert!(matches!(result, Err(RegistryError::Size { actual: SizeSeen::Exactly(50_001), .. })), "{result:?}");
    assert!(bytes.is_empty() && requests == 1);
    let (result, bytes, _) = layer(|blob| Answer::new(200, [blob, b"\0"].concat()).without_length());
    assert!(matches!(result, Err(RegistryError::Size { actual: SizeSeen::MoreThan(50_000), .. })), "{result:?}");
    assert!(bytes.is_empty());
    let (result, bytes, requests) = layer(|blob| Answer::new(200, &blob[1..]));
    assert!(matches!(result, Err(RegistryError::Size { actual: SizeSeen::Exactly(49_999), .. })), "{result:?}");
    assert!(bytes.is_empty() && requests == 1);
    let (result, bytes, _) = layer(|blob| Answer::new(200, &blob[1..]).without_length());
    assert!(matches!(result, Err(RegistryError::Size { actual: SizeSeen::Exactly(_), .. })), "{result:?}");
    assert!(bytes.is_empty());
}

/// A18: oversize; A19.
#[test]
fn an_endless_blob_is_cut_off() {
    let (result, bytes, _) = layer(|_| Answer::new(200, noise(1, 4_000_000)).without_length().ends(End::Whole));
    assert!(matches!(result, Err(RegistryError::Size { actual: SizeSeen::MoreThan(_), .. })), "{result:?}");
    assert!(bytes.is_empty());
}

/// Resolves an image whose manifest is `body`, served as `kind`.
fn manifest(kind: &'static str, body: String) -> String {
    let (bench, image) = (Bench::new(), image());
    let server = serving(&image, move |asked| {
        asked.target.contains("/manifests/").then(|| Answer::new(200, body.clone()).header("content-type", kind))
    });
    match pull(&bench, &format!("{}/app:1", server.address)) {
        Ok(resolved) => format!("{} {}", resolved.media_type, resolved.manifest.layers.len()),
        Err(error) => shown(&error),
    }
}

fn good() -> String {
    String::from_utf8(image().manifest_bytes.clone()).expect("a manifest is text")
}

/// A18: manifest+index ambiguity, mediaType mismatch, duplicate keys.
#[test]
fn ambiguous_manifests_are_refused() {
    let oci = media_type::OCI_MANIFEST;
    assert_eq!(manifest(oci, good()), format!("{oci} 1"));
    let both = good().replacen('{', r#"{"manifests":[],"#, 1);
    assert!(manifest(oci, both).contains("ambiguous"));
    let twice = good().replacen('{', r#"{"schemaVersion":2,"#, 1);
    assert!(manifest(oci, twice).contains("the key `schemaVersion` twice"));
    assert!(manifest(media_type::OCI_INDEX, good()).contains("was served as"));
    assert!(
        manifest(oci, good().replace("\"schemaVersion\":2", "\"schemaVersion\":3"))
            .contains("unknown schema version 3")
    );
    assert!(manifest(media_type::DOCKER_SCHEMA1_SIGNED, r#"{"schemaVersion":1}"#.into()).contains("schema 1"));
    assert!(manifest("application/json", r#"{"schemaVersion":1,"name":"x"}"#.into()).contains("schema 1"));
    assert!(manifest("text/html", "<html>".into()).contains("manifest is not valid"));
}

/// A18: bad digest strings; A19: size −1.
#[test]
fn digests_and_sizes_that_are_none_are_refused() {
    let oci = media_type::OCI_MANIFEST;
    let layer = image().manifest.layers[0].digest.to_string();
    for digest in ["sha256:../../../../etc/x", "sha256:ABC", "x", "", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        assert!(manifest(oci, good().replace(&layer, digest)).contains("manifest is not valid"), "{digest}");
    }
    assert!(manifest(oci, good().replace("\"size\":50000", "\"size\":-1")).contains("manifest is not valid"));
    let huge = good().replace("\"size\":78", "\"size\":99999999999");
    assert_ne!(huge, good());
    assert!(manifest(oci, huge).contains("image configuration at http://127.0.0.1:"), "{}", manifest(oci, good()));
}

/// A18: oversize.
#[test]
fn manifests_that_are_too_large_are_not_read() {
    let padded = good().replacen('{', &format!("{{\"x\":\"{}\",", "x".repeat(5 << 20)), 1);
    assert!(manifest(media_type::OCI_MANIFEST, padded).contains("more than the 4194304 bytes that are allowed"));
}

/// A18: foreign `urls`.
#[test]
fn layers_from_elsewhere_are_refused() {
    let oci = media_type::OCI_MANIFEST;
    let foreign = good().replace("\"size\":50000", "\"size\":50000,\"urls\":[\"http://evil.test/x\"]");
    assert!(manifest(oci, foreign).contains("is to be fetched from elsewhere"));
    let kind = good().replace(media_type::OCI_LAYER_GZIP, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    assert!(manifest(oci, kind).contains("is to be fetched from elsewhere"));
    let artifact = good().replace(media_type::OCI_LAYER_GZIP, "application/vnd.example");
    assert!(manifest(oci, artifact).contains("the type `application/vnd.example`, which is not supported"));
    let config = good().replace(media_type::OCI_CONFIG, "application/vnd.oci.empty.v1+json");
    assert!(manifest(oci, config).contains("the type `application/vnd.oci.empty.v1+json`"));
    let many =
        format!("[{}]", vec![serde_json::to_string(&image().manifest.layers[0]).expect("it is JSON"); 501].join(","));
    let start = good().find("\"layers\":").expect("there are layers");
    assert!(manifest(oci, format!("{}\"layers\":{many}}}", &good()[..start])).contains("501 layers, and at most 500"));
}

/// A19: tag@digest.
#[test]
fn a_digest_in_the_name_is_the_only_one_accepted() {
    let (bench, image) = (Bench::new(), image());
    let server = serving(&image, |_| None);
    let other = BlobDigest::of(b"another manifest");
    for name in [format!("app@{other}"), format!("app:1@{other}")] {
        let error = pull(&bench, &format!("{}/{name}", server.address)).expect_err("the server has another manifest");
        assert!(matches!(error, RegistryError::Digest { expected, .. } if expected == other), "{error:?}");
    }
    pull(&bench, &format!("{}/app:1@{}", server.address, image.digest())).expect("this is the right one");
    assert!(server.lines().contains(&format!("GET /v2/app/manifests/{}", image.digest())), "{:?}", server.lines());
    let error = bench.client().push(&reference(&format!("{}/app@{other}", server.address)), &image.push(), &|_, _| ());
    assert!(matches!(error, Err(RegistryError::PushDigest { .. })), "{error:?}");
}

#[test]
fn a_digest_that_the_registry_states_must_be_true() {
    let (bench, image) = (Bench::new(), image());
    let for_server = image.clone();
    let server = serving(&image, move |asked| {
        let mut answer = registry(&for_server, asked);
        answer.headers.retain(|(name, _)| name != "docker-content-digest");
        let digest = BlobDigest::of(b"x").to_string();
        asked.target.contains("/manifests/").then(|| answer.header("docker-content-digest", digest))
    });
    let error = pull(&bench, &format!("{}/app:1", server.address)).expect_err("it is not true");
    assert!(matches!(error, RegistryError::Digest { .. }), "{error:?}");
}

/// An index that describes the image's manifest after `change`.
fn indexed(change: impl Fn(&mut Descriptor)) -> Result<Resolved, RegistryError> {
    let (bench, image) = (Bench::new(), image());
    let mut entry = Descriptor::new(media_type::OCI_MANIFEST, image.digest(), image.manifest_bytes.len() as u64);
    entry.platform = Some(amd64());
    change(&mut entry);
    let index =
        format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, serde_json::to_string(&entry).expect("it is JSON"));
    let server = serving(&image, move |asked| {
        let answer = Answer::new(200, index.clone()).header("content-type", media_type::OCI_INDEX);
        asked.target.ends_with("/manifests/1").then_some(answer)
    });
    pull(&bench, &format!("{}/app:1", server.address))
}

#[test]
fn an_index_leads_to_the_manifest_that_it_describes() {
    let resolved = indexed(|_| ()).expect("the index is good");
    assert_eq!(resolved.digest, image().digest());
    assert!(resolved.index_digest.is_some_and(|digest| digest != resolved.digest));
    let wrong_size = indexed(|entry| entry.size += 1);
    assert!(matches!(wrong_size, Err(RegistryError::Size { .. })), "{wrong_size:?}");
    let wrong_type = indexed(|entry| entry.media_type = media_type::DOCKER_MANIFEST.to_owned());
    assert!(shown(&wrong_type.expect_err("it is of another type")).contains("was served as"));
    let wrong_digest = indexed(|entry| entry.digest = BlobDigest::of(b"x"));
    assert!(matches!(wrong_digest, Err(RegistryError::Digest { .. })), "{wrong_digest:?}");
    let other = indexed(|entry| entry.platform = Some("linux/s390x".parse().expect("the platform is valid")));
    assert!(
        shown(&other.expect_err("it is for others"))
            .contains("has nothing for linux/amd64: it is made for linux/s390x")
    );
}

#[test]
fn an_index_of_itself_ends() {
    let (bench, image) = (Bench::new(), image());
    let text = |inner: BlobDigest, size: u64| {
        let entry = Descriptor::new(media_type::OCI_INDEX, inner, size);
        format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, serde_json::to_string(&entry).expect("it is JSON"))
    };
    let mut levels = vec![text(image.digest(), image.manifest_bytes.len() as u64)];
    for _ in 0..4 {
        let last = levels.last().expect("there is one");
        levels.push(text(BlobDigest::of(last.as_bytes()), last.len() as u64));
    }
    let top = BlobDigest::of(levels.last().expect("there is one").as_bytes());
    let server = serving(&image, move |asked| {
        let level =
            levels.iter().find(|level| asked.target.ends_with(&BlobDigest::of(level.as_bytes()).to_string()))?;
        Some(Answer::new(200, level.clone()).header("content-type", media_type::OCI_INDEX))
    });
    let error = pull(&bench, &format!("{}/app@{top}", server.address)).expect_err("it goes on and on");
    assert!(matches!(error, RegistryError::IndexDepth { .. }), "{error:?}");
}

#[test]
fn a_challenge_that_makes_no_sense_is_refused() {
    for (header, words) in [
        (None, "there is no `WWW-Authenticate` header"),
        (Some("Digest realm=x"), "neither `Bearer` nor `Basic`"),
        (Some("Bearer service=x"), "has no `realm`"),
        (Some("Bearer realm=\"https://a/\",realm=\"https://evil.test/\""), "the parameter `realm` twice"),
        (Some("Bearer realm=\"https://me:secret@evil.test/\""), "which is no valid address"),
        (Some("Bearer realm=\"gopher://evil.test/\""), "which is no valid address"),
        (Some("Basic realm=\"x\""), "without credentials: none are configured for it"),
    ] {
        let (bench, image) = (Bench::new(), image());
        let server = serving(&image, move |asked| {
            let answer = Answer::new(401, "");
            let answer = header.map_or(answer.clone(), |header| answer.header("www-authenticate", header));
            (asked.target != "/v2/").then_some(answer)
        });
        let error = pull(&bench, &format!("{}/app:1", server.address)).expect_err("nobody can meet it");
        assert!(shown(&error).contains(words) && !shown(&error).contains("secret"), "{}", shown(&error));
    }
}

#[test]
fn answers_of_token_servers_are_checked() {
    let large = format!(r#"{{"token":"{}"}}"#, "x".repeat(2 << 20));
    for (status, body, words) in [
        (200, "{}", "has no token in it"),
        (200, "[]", "its answer is not valid"),
        (200, r#"{"token":"a\r\nX-Evil: 1"}"#, "characters that no token has"),
        (200, &large, "more than the 1048576 bytes that are allowed"),
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"no"}]}"#,
            "without credentials: none are configured for it: DENIED: no",
        ),
    ] {
        let (bench, image) = (Bench::new(), image());
        let body = body.to_owned();
        let server = serving(&image, move |asked| match asked.target.split('?').next() {
            Some("/token") => Some(Answer::new(status, body.clone())),
            Some("/v2/") => None,
            _ => {
                let realm = format!("Bearer realm=\"http://{}/token\"", asked.header("host"));
                Some(Answer::new(401, "").header("www-authenticate", realm))
            }
        });
        let error = pull(&bench, &format!("{}/app:1", server.address)).expect_err("there is no token");
        assert!(shown(&error).contains(words), "{words}: {}", shown(&error));
    }
}

#[test]
fn a_blocked_registry_is_not_even_asked() {
    let (bench, image) = (Bench::new(), image());
    let server = serving(&image, |_| None);
    bench.file(
        "etc/containers/registries.conf.d/no.conf",
        &format!("[[registry]]\nlocation = \"{}\"\nblocked = true\n", server.address),
    );
    let name = format!("{}/app:1", server.address);
    let error = pull(&bench, &name).expect_err("it is blocked");
    assert!(matches!(error, RegistryError::Blocked { .. }), "{error:?}");
    let error = bench.client().push(&reference(&name), &image.push(), &|_, _: PushProgress| ());
    assert!(matches!(error, Err(RegistryError::Blocked { .. })), "{error:?}");
    assert!(server.asked().is_empty());
}
