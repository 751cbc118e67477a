//! Signatures of images that a made authority and made logs vouch for, or plain keys, and what becomes of them in hostile
//! hands. E018

use proptest::prelude::*;
use serde_json::Value;
use stave_signature::image::{Content, ImageFinding, ImageSignature, SIGN, SignedImage, Simple, verify_image};
use stave_signature::sigstore::{Finding, SigstoreError, TrustedRoot};
use stave_signature::{SignatureError, Verdict};

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("../test_data/sigstore/", $name)).as_slice()
    };
}

const ROOT: &[u8] = data!("trusted_root.json");
const SIGNED: &[u8] = data!("signed.json");

fn root() -> TrustedRoot {
    TrustedRoot::parse(ROOT).expect("a root of trust")
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use rsa::sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).into()
}

fn of_image(content: Content) -> ImageSignature {
    ImageSignature { place: "sha256:made".to_owned(), sha256: sha256(data!("image.manifest.json")), content }
}

fn bundle(bytes: &[u8]) -> ImageSignature {
    of_image(Content::Bundle(bytes.to_vec()))
}

fn simple(bytes: &[u8]) -> ImageSignature {
    let parts: Value = serde_json::from_slice(bytes).expect("JSON");
    let text = |name: &str| parts[name].as_str().map(str::to_owned);
    of_image(Content::Simple(Box::new(Simple {
        payload: text("payload").expect("a payload").into_bytes(),
        signature: text("signature").expect("a signature"),
        certificate: text("certificate"),
        chain: text("chain"),
        log_entry: text("bundle"),
    })))
}

fn signed(signature: &ImageSignature) -> SignedImage {
    match signature.signed_by(&root()).expect("it can be found out") {
        ImageFinding::Signed(signed) => *signed,
        ImageFinding::Not(why) => panic!("{why}"),
    }
}

fn why_not(signature: &ImageSignature) -> String {
    match signature.signed_by(&root()).expect("it can be found out") {
        ImageFinding::Not(why) => why,
        ImageFinding::Signed(_) => panic!("it is verified"),
    }
}

fn unknown(signature: &ImageSignature) -> String {
    signature.signed_by(&root()).expect_err("it is an error").to_string()
}

fn with_key(signature: ImageSignature, keys: &[u8]) -> Result<Verdict, SignatureError> {
    verify_image(&[signature], keys)
}

#[test]
fn a_certificate_says_who_signed() {
    let SignedImage { signed, reference } = signed(&bundle(SIGNED));
    let workflow = "https://github.com/example/app/.github/workflows/release.yml@refs/tags/v1";
    assert_eq!(signed.signer.certificate_issuer, "CN=made,O=example.com");
    assert_eq!(signed.signer.identity, workflow);
    assert_eq!(signed.signer.issuer.as_deref(), Some("https://token.actions.githubusercontent.com"));
    assert!(signed.signer.claims.contains(&("sourceRepositoryURI", "https://github.com/example/app".to_owned())));
    assert_eq!(signed.signer.claims.len(), 14);
    assert_eq!((signed.form, reference), ("bundle-v0.3", None));
    assert_eq!(signed.statement.expect("a statement").predicate_type, SIGN);
    let [time] = signed.times.as_slice() else { panic!("{:?}", signed.times) };
    assert!(time.by_log);
    assert_eq!((time.uri.as_deref(), time.time.as_str()), (Some("https://rekor.example.com"), "2024-06-01T12:00:05Z"));
}

#[test]
fn digests_and_statements_are_signed_too() {
    assert_eq!(signed(&bundle(data!("message.json"))).signed.statement, None);
    let statement = signed(&bundle(data!("attested.json"))).signed.statement.expect("a statement");
    assert_eq!(statement.predicate_type, "https://slsa.dev/provenance/v1");
    assert_eq!(statement.predicate["runDetails"]["builder"]["id"], "b");
    let other = signed(&bundle(data!("other-workflow.json")));
    assert!(other.signed.signer.identity.starts_with("https://github.com/mallory/"), "who it is, the policy asks");
}

/// What `cosign` wrote before there were bundles: a payload, its certificate, and what a log promised.
#[test]
fn the_older_form_is_verified_as_a_bundle_is() {
    let found = signed(&simple(data!("simple.json")));
    assert_eq!((found.signed.form, found.reference.as_deref()), ("simplesigning-v1", Some("example.com/base")));
    assert_eq!(found.signed.times.len(), 1);
    let not = "it is in no log of the root of trust (invalid inclusion promise: No log key valid at";
    let other_log = why_not(&simple(data!("simple.other-log.json")));
    assert!(other_log.starts_with(not), "{other_log}");
    let why = why_not(&simple(data!("simple.other-image.json")));
    assert!(why.starts_with("it is over the image sha256:"), "{why}");
    assert_eq!(why_not(&simple(data!("p256.simple.json"))), "it is by a plain key, and not by a certificate");
    let mut moved = simple(data!("simple.json"));
    let Content::Simple(of_other) = simple(data!("simple.other-image.json")).content else { panic!("it is one") };
    let Content::Simple(parts) = &mut moved.content else { panic!("it is one") };
    parts.signature = of_other.signature;
    let why = why_not(&moved);
    assert!(why.starts_with("it is not by the key of its certificate"), "{why}");
    let Content::Simple(parts) = &mut moved.content else { panic!("it is one") };
    parts.log_entry = None;
    assert_eq!(why_not(&moved), "it is in no log");
}

#[test]
fn what_nobody_vouches_for_is_not_verified() {
    for (hostile, why) in [
        (
            data!("other-authority.json"),
            "nobody of the root of trust vouches for its certificate at the time of the signature (",
        ),
        (
            data!("other-ct.json"),
            "nobody of the root of trust vouches for its certificate at the time of the signature (",
        ),
        (data!("other-log.json"), "it is in no log of the root of trust ("),
        (
            data!("expired.json"),
            "nobody of the root of trust vouches for its certificate at the time of the signature (",
        ),
        (data!("early.json"), "nobody of the root of trust vouches for its certificate at the time of the signature ("),
        (data!("other-image.json"), "it is over something else"),
        (data!("swapped-digest.json"), "it is not by the key of its certificate ("),
        (data!("swapped-payload.json"), "it is not by the key of its certificate ("),
        (data!("swapped-entry.json"), "its entry in the log is about something else ("),
    ] {
        let found = why_not(&bundle(hostile));
        assert!(found.starts_with(why), "expected `{why}`, got `{found}`");
    }
    let unlogged = changed(SIGNED, |bundle| bundle["verificationMaterial"]["tlogEntries"] = Value::Array(Vec::new()));
    assert!(why_not(&bundle(&unlogged)).starts_with("it is in no log of the root of trust ("));
    let of_other = ImageSignature { sha256: [7; 32], ..bundle(SIGNED) };
    assert_eq!(why_not(&of_other), "it is over something else");
    let other_root = TrustedRoot::parse(data!("other_root.json")).expect("a root of trust");
    let found = bundle(SIGNED).signed_by(&other_root).expect("it can be found out");
    assert!(matches!(found, ImageFinding::Not(why) if why.starts_with("it is in no log of the root of trust (")));
    assert_eq!(why_not(&bundle(data!("p256.bundle.json"))), "it is by a plain key, and not by a certificate");
}

fn changed(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(bytes).expect("JSON");
    change(&mut value);
    value.to_string().into_bytes()
}

#[test]
fn what_cannot_be_found_out_is_an_error_that_names_it() {
    let with = |change: fn(&mut Value)| unknown(&bundle(&changed(SIGNED, change)));
    assert_eq!(
        with(|bundle| bundle["dsseEnvelope"]["payloadType"] = "text/plain".into()),
        "the bundle of Sigstore is not verified: it signs `text/plain`, expected `application/vnd.in-toto+json`"
    );
    for change in [
        |bundle: &mut Value| bundle["mediaType"] = "application/vnd.dev.sigstore.bundle.v9+json".into(),
        |bundle: &mut Value| bundle["verificationMaterial"]["certificate"]["rawBytes"] = "MAA=".into(),
        |bundle: &mut Value| bundle["dsseEnvelope"] = Value::Null,
        |bundle: &mut Value| bundle["verificationMaterial"]["certificate"] = Value::Null,
    ] {
        let problem = with(change);
        assert!(problem.starts_with("the bundle of Sigstore cannot be read: "), "{problem}");
    }
    let cut = unknown(&bundle(&SIGNED[..SIGNED.len() / 2]));
    assert!(cut.starts_with("the bundle of Sigstore cannot be read: "), "{cut}");
    let large = vec![b' '; stave_signature::limits::BUNDLE_BYTES_MAX + 1];
    let problem = "the bundle of Sigstore cannot be read: it has 4194305 bytes, and 4194304 are the most";
    assert_eq!(unknown(&bundle(&large)), problem);
}

#[test]
fn a_root_of_trust_that_trusts_nobody_is_an_error() {
    let problem = |bytes: &[u8]| TrustedRoot::parse(bytes).expect_err("it is none").to_string();
    let empty =
        "the root of trust cannot be used: it names no authority, no log of signatures or no log of certificates";
    for name in ["certificateAuthorities", "tlogs", "ctlogs"] {
        assert_eq!(problem(&changed(ROOT, |root| root[name] = Value::Array(Vec::new()))), empty);
    }
    let broken = changed(ROOT, |root| root["tlogs"][0]["publicKey"]["rawBytes"] = "MAA=".into());
    let found = problem(&broken);
    assert!(found.starts_with("the root of trust cannot be used: the log `https://rekor.example.com`: "), "{found}");
    assert!(problem(b"{}").starts_with("the root of trust cannot be used: "));
    assert!(problem(&[0xff]).starts_with("the root of trust cannot be used: "));
    let large = vec![b' '; stave_signature::limits::TRUSTED_ROOT_BYTES_MAX + 1];
    assert_eq!(problem(&large), "the root of trust cannot be used: it has 1048577 bytes, and 1048576 are the most");
}

/// The roots of trust that Sigstore publishes, for use and for tests; and that of GitHub's private repositories, which has
/// no logs.
#[test]
fn published_roots_of_trust_are_read() {
    use sigstore_verify::trust_root::{
        SIGSTORE_GITHUB_TRUSTED_ROOT, SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_STAGING_TRUSTED_ROOT,
    };
    for root in [SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_STAGING_TRUSTED_ROOT] {
        TrustedRoot::parse(root.as_bytes()).expect("it is one");
    }
    assert_eq!(
        TrustedRoot::parse(SIGSTORE_GITHUB_TRUSTED_ROOT.as_bytes()).expect_err("it has no logs").to_string(),
        "the root of trust cannot be used: it names no authority, no log of signatures or no log of certificates"
    );
}

#[test]
fn plain_keys_of_every_kind_sign_images() {
    for (keys, simple_one, bundle_one) in [
        (data!("p256.pub"), data!("p256.simple.json"), data!("p256.bundle.json")),
        (data!("p384.pub"), data!("p384.simple.json"), data!("p384.bundle.json")),
        (data!("ed25519.pub"), data!("ed25519.simple.json"), data!("ed25519.bundle.json")),
        (data!("rsa.pub"), data!("rsa.simple.json"), data!("rsa.bundle.json")),
    ] {
        for signature in [simple(simple_one), bundle(bundle_one)] {
            assert_eq!(with_key(signature.clone(), keys).expect("it can be found out"), Verdict::Verified);
            let both = [data!("rsa.pub"), data!("ed25519.pub"), keys].concat();
            assert_eq!(with_key(signature.clone(), &both).expect("it can be found out"), Verdict::Verified);
            let others = if keys == data!("p256.pub") { data!("p384.pub") } else { data!("p256.pub") };
            let not = "sha256:made: it is by none of the keys, or over something else";
            assert_eq!(with_key(signature, others).expect("it can be found out"), Verdict::Not(not.to_owned()));
        }
    }
    let message = bundle(data!("p256.message.json"));
    assert_eq!(with_key(message, data!("p256.pub")).expect("it can be found out"), Verdict::Verified);
}

#[test]
fn a_plain_key_signs_one_image_and_states_nothing_else() {
    let key = data!("p256.pub");
    let why = |signature| match with_key(signature, key).expect("it can be found out") {
        Verdict::Not(why) => why,
        Verdict::Verified => panic!("it is verified"),
    };
    assert_eq!(why(bundle(data!("p256.other-image.json"))), "sha256:made: it is over something else");
    let other = why(simple(data!("p256.simple.other-image.json")));
    assert!(other.starts_with("sha256:made: it is over the image sha256:"), "{other}");
    assert_eq!(
        why(bundle(data!("p256.attested.json"))),
        "sha256:made: it states `https://slsa.dev/provenance/v1` of the image, and signs nothing else"
    );
    assert_eq!(why(bundle(SIGNED)), "sha256:made: it is by a certificate, and not by a plain key");
    assert_eq!(why(simple(data!("simple.json"))), "sha256:made: it is by a certificate, and not by a plain key");
    assert_eq!(verify_image(&[], key).expect("it can be found out"), Verdict::Not("it has no signature".to_owned()));
    // One that is good is enough, whatever else lies beside it.
    let all = [bundle(b"{"), bundle(data!("p256.attested.json")), simple(data!("p256.simple.json"))];
    assert_eq!(verify_image(&all, key).expect("it can be found out"), Verdict::Verified);
}

#[test]
fn keys_and_signatures_that_cannot_be_used_are_errors() {
    let problem = |signature: ImageSignature, keys: &[u8]| {
        let error = with_key(signature, keys).expect_err("it is an error");
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        format!("{error}{cause}")
    };
    let good = || simple(data!("p256.simple.json"));
    assert_eq!(
        problem(simple(data!("short.simple.json")), data!("short.pub")),
        "the keys cannot be used: the key of RSA has 1024 bits, expected at least 2048"
    );
    let p521 = problem(simple(data!("p521.simple.json")), data!("p521.pub"));
    assert!(p521.starts_with("the keys cannot be used: ") && p521.contains("EC curve"), "{p521}");
    assert_eq!(problem(good(), b""), "the keys cannot be used: there is no `-----BEGIN PUBLIC KEY-----`");
    assert_eq!(
        problem(good(), b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        "the keys cannot be used: they have the line `-----BEGIN PRIVATE KEY-----`, expected \
         `-----BEGIN PUBLIC KEY-----` and `-----END PUBLIC KEY-----`"
    );
    let cut = &data!("p256.pub")[..60];
    assert!(problem(good(), cut).starts_with("the keys cannot be used: they have the line "));
    assert_eq!(
        problem(bundle(data!("p256.message.json")), data!("ed25519.pub")),
        "the signature sha256:made of the image: the bundle of Sigstore is not verified: a key of Ed25519 signs no digest"
    );
    let mut other_kind = good();
    let Content::Simple(parts) = &mut other_kind.content else { panic!("it is one") };
    parts.payload = br#"{"critical":{"type":"other","image":{"docker-manifest-digest":"x"}}}"#.to_vec();
    assert_eq!(
        problem(other_kind, data!("p256.pub")),
        "the signature sha256:made of the image: the bundle of Sigstore is not verified: its payload is of the type \
         `other`, expected `cosign container image signature`"
    );
    assert!(
        problem(bundle(b"{"), data!("p256.pub"))
            .starts_with("the signature sha256:made of the image: the bundle of Sigstore cannot be read: ")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a byte of a bundle becomes, it shows nothing else than it did.
    #[test]
    fn no_changed_bundle_shows_something_else(at in any::<prop::sample::Index>(), byte in any::<u8>(), form in 0_usize..3) {
        let original = [SIGNED, data!("message.json"), data!("attested.json")][form];
        let mut changed = original.to_vec();
        changed[at.index(original.len())] = byte;
        let digest = bundle(original).sha256;
        if let Ok(Finding::Signed(found)) = root().verify(digest, &changed) {
            let Ok(Finding::Signed(before)) = root().verify(digest, original) else { panic!("it is signed") };
            prop_assert_eq!(found.signer, before.signer);
            prop_assert_eq!(found.statement, before.statement);
        }
    }

    /// What is cut off anywhere is an error or not verified, never a panic.
    #[test]
    fn no_cut_bundle_is_verified(at in any::<prop::sample::Index>()) {
        let text = SIGNED.trim_ascii_end();
        let cut = &text[..at.index(text.len())];
        prop_assert!(!matches!(bundle(cut).signed_by(&root()), Ok(ImageFinding::Signed(_))));
        prop_assert!(!matches!(with_key(bundle(cut), data!("p256.pub")), Ok(Verdict::Verified)));
    }

    /// Any bytes are a bundle, a payload, a key and a root of trust, or an error.
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[ -~\n]{0,200}") {
        prop_assert!(!matches!(bundle(&bytes).signed_by(&root()), Ok(ImageFinding::Signed(_))));
        let parts = Simple {
            payload: data!("image.manifest.json").to_vec(), signature: text.clone(), certificate: Some(text.clone()),
            chain: Some(text.clone()), log_entry: Some(text.clone()),
        };
        let odd = of_image(Content::Simple(Box::new(parts)));
        prop_assert!(!matches!(odd.signed_by(&root()), Ok(ImageFinding::Signed(_))));
        prop_assert!(!matches!(with_key(odd, &bytes), Ok(Verdict::Verified)));
        prop_assert!(!matches!(with_key(bundle(&bytes), data!("p256.pub")), Ok(Verdict::Verified)));
        let armored = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
        prop_assert!(!matches!(with_key(bundle(&bytes), armored.as_bytes()), Ok(Verdict::Verified)));
        let is_refused = matches!(TrustedRoot::parse(&bytes), Err(SigstoreError::Root { .. }));
        prop_assert!(is_refused);
    }
}
