//! Any bytes are a signature, keys, an object of Git, a bundle or a root of trust, or an error; none of them verifies.
//!
//! The first byte says where the rest goes. Run with `cargo +nightly fuzz run signatures crates/signature/test_data`.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use stave_signature::git::{Commit, Tag};
use stave_signature::image::{Content, ImageFinding, ImageSignature, Simple, verify_image};
use stave_signature::sigstore::TrustedRoot;
use stave_signature::{Verdict, kind_of, verify, verify_openpgp};

const OPENPGP: &[u8] = include_bytes!("../../crates/signature/test_data/ada.asc");
const SSH: &[u8] = include_bytes!("../../crates/signature/test_data/ada.pub");
const PLAIN: &[u8] = include_bytes!("../../crates/signature/test_data/sigstore/p256.pub");
const SIGNED: &[u8] = include_bytes!("../../crates/signature/test_data/ada.file.asc");
const ROOT: &[u8] = include_bytes!("../../crates/signature/test_data/sigstore/trusted_root.json");

/// What nobody has signed.
const OTHER: &[u8] = b"what nobody has signed";

fn root() -> &'static TrustedRoot {
    static ROOT_OF_TRUST: OnceLock<TrustedRoot> = OnceLock::new();
    ROOT_OF_TRUST.get_or_init(|| TrustedRoot::parse(ROOT).expect("it is one"))
}

fn image(content: Content) {
    let signature = ImageSignature { place: String::new(), sha256: [7; 32], content };
    assert!(!matches!(signature.signed_by(root()), Ok(ImageFinding::Signed(_))));
    assert!(!matches!(verify_image(&[signature], PLAIN), Ok(Verdict::Verified)));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let text = || String::from_utf8_lossy(bytes).into_owned();
    match which % 8 {
        0 => {
            let _kind = kind_of(bytes);
            for keys in [OPENPGP, SSH] {
                assert!(!matches!(verify(OTHER, bytes, keys), Ok(Verdict::Verified)));
            }
        }
        1 => assert!(!matches!(verify_openpgp(&|| Ok(Box::new(OTHER)), bytes, OPENPGP), Ok(Verdict::Verified))),
        2 => assert!(!matches!(verify_openpgp(&|| Ok(Box::new(OTHER)), SIGNED, bytes), Ok(Verdict::Verified))),
        3 => {
            if let Ok(commit) = Commit::parse(bytes) {
                assert!(commit.signed.payload.len() <= bytes.len());
            }
            let _tag = Tag::parse(bytes);
        }
        4 => image(Content::Bundle(bytes.to_vec())),
        5 => image(Content::Simple(Box::new(Simple { payload: bytes.to_vec(), ..Simple::default() }))),
        6 => image(Content::Simple(Box::new(Simple {
            payload: br#"{"critical":{"type":"cosign container image signature","image":{"docker-manifest-digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707"}}}"#.to_vec(),
            signature: "MAA=".to_owned(),
            certificate: Some(text()),
            chain: Some(text()),
            log_entry: Some(text()),
        }))),
        _ => {
            let _root = TrustedRoot::parse(bytes);
            assert!(!matches!(verify_image(&[], bytes), Ok(Verdict::Verified)));
        }
    }
});
