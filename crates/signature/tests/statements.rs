//! What keys say of themselves in several places, of which neither takes back what the other says. E018

use pgp::composed::{SignedKeyDetails, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::ed25519::{Mode, SecretKey as Seed};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{
    KeyFlags, PacketTrait, PubKeyInner, PublicKey, PublicSubkey, SecretKey, SecretSubkey, Signature, SignatureConfig,
    SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::ser::Serialize;
use pgp::types::{
    Duration, KeyDetails, KeyVersion, PacketHeaderVersion, Password, PlainSecretParams, PublicParams, SecretParams,
    SignedUser, SigningKey, Tag, Timestamp,
};
use stave_signature::{SignatureError, Verdict, verify_openpgp};

/// When the keys of these tests are made; what is signed is signed a hundred seconds later.
const BORN: u32 = 1_700_000_000;
const SIGNED: u32 = 100;
const FILE: &[u8] = b"one\ntwo\n";

fn secret(seed: u8) -> (PublicParams, SecretParams) {
    let secret = Seed::try_from_bytes([seed; 32], Mode::Ed25519).expect("any bytes are a key");
    (PublicParams::Ed25519((&secret).into()), SecretParams::Plain(PlainSecretParams::Ed25519(secret)))
}

fn inner(public: PublicParams) -> PubKeyInner {
    let born = Timestamp::from_secs(BORN);
    PubKeyInner::new(KeyVersion::V4, PublicKeyAlgorithm::Ed25519, born, None, public).expect("it is a key")
}

fn primary() -> SecretKey {
    let (public, secret) = secret(1);
    SecretKey::new(PublicKey::from_inner(inner(public)).expect("it is a key"), secret).expect("it is a key")
}

fn subkey() -> SecretSubkey {
    let (public, secret) = secret(2);
    SecretSubkey::new(PublicSubkey::from_inner(inner(public)).expect("it is a key"), secret).expect("it is a key")
}

/// A statement of `key`, made so many seconds after it was.
fn config(key: &impl KeyDetails, kind: SignatureType, after: u32, says: &[SubpacketData]) -> SignatureConfig {
    let mut config = SignatureConfig::v4(kind, PublicKeyAlgorithm::Ed25519, HashAlgorithm::Sha256);
    let made = SubpacketData::SignatureCreationTime(Timestamp::from_secs(BORN + after));
    let by = SubpacketData::IssuerFingerprint(key.fingerprint());
    let parts = [made, by].into_iter().chain(says.iter().cloned());
    config.hashed_subpackets = parts.map(|part| Subpacket::regular(part).expect("it is a part")).collect();
    config
}

fn of_key(after: u32, says: &[SubpacketData]) -> Signature {
    let key = primary();
    let config = config(&key, SignatureType::Key, after, says);
    config.sign_key(&key, &Password::empty(), key.public_key()).expect("it signs")
}

fn of_name(name: &str, after: u32, says: &[SubpacketData]) -> SignedUser {
    let key = primary();
    let id = UserId::from_str(PacketHeaderVersion::New, name).expect("it is a name");
    let config = config(&key, SignatureType::CertPositive, after, says);
    let own = config.sign_certification(&key, key.public_key(), &Password::empty(), Tag::UserId, &id);
    SignedUser::new(id, vec![own.expect("it signs")])
}

fn key(direct: Vec<Signature>, users: Vec<SignedUser>, subkeys: Vec<SignedPublicSubKey>) -> Vec<u8> {
    let details = SignedKeyDetails::new(Vec::new(), direct, users, Vec::new());
    SignedPublicKey::new(primary().public_key().clone(), details, subkeys).to_bytes().expect("it can be written")
}

/// A signature over the file, as it is in a file of its own.
fn signature(by: &impl SigningKey, kind: SignatureType) -> Vec<u8> {
    let signature = config(by, kind, SIGNED, &[]).sign(by, &Password::empty(), FILE).expect("it signs");
    let mut bytes = Vec::new();
    signature.to_writer_with_header(&mut bytes).expect("it can be written");
    bytes
}

fn asked(signature: &[u8], keys: &[u8]) -> Result<Verdict, SignatureError> {
    verify_openpgp(&|| Ok(Box::new(FILE)), signature, keys)
}

/// Why what the key signs is not verified; nothing if it is.
fn why_not(keys: &[u8]) -> Option<String> {
    match asked(&signature(&primary(), SignatureType::Binary), keys).expect("it can be found out") {
        Verdict::Verified => None,
        Verdict::Not(why) => Some(why),
    }
}

fn ends(after: u32) -> SubpacketData {
    SubpacketData::KeyExpirationTime(Duration::from_secs(after))
}

fn itself_ends(after: u32) -> SubpacketData {
    SubpacketData::SignatureExpirationTime(Duration::from_secs(after))
}

fn may(sign: bool) -> SubpacketData {
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(sign);
    SubpacketData::KeyFlags(flags)
}

/// What a key says of itself directly and what it says with its names are asked each; of several names the latest
/// that says something.
#[test]
fn no_statement_takes_back_what_another_says() {
    let expired = format!("the key {} had expired when the signature was made", primary().legacy_key_id());
    let other = format!("the key {} is not for signatures", primary().legacy_key_id());
    let good = || of_name("a", 0, &[may(true)]);
    for (keys, why) in [
        (key(vec![], vec![good()], vec![]), None),
        (key(vec![of_key(0, &[])], vec![], vec![]), None),
        (key(vec![of_key(5, &[])], vec![of_name("a", 0, &[ends(50)])], vec![]), Some(&expired)),
        (key(vec![of_key(0, &[ends(50)])], vec![of_name("a", 5, &[])], vec![]), Some(&expired)),
        (key(vec![of_key(0, &[ends(50)])], vec![of_name("a", 5, &[ends(500)])], vec![]), Some(&expired)),
        (key(vec![of_key(5, &[])], vec![of_name("a", 0, &[may(false)])], vec![]), Some(&other)),
        (key(vec![of_key(0, &[may(false)])], vec![of_name("a", 5, &[may(true)])], vec![]), Some(&other)),
        (key(vec![], vec![of_name("a", 0, &[ends(50)]), of_name("b", 5, &[])], vec![]), Some(&expired)),
        (key(vec![], vec![of_name("a", 0, &[may(false)]), of_name("b", 5, &[])], vec![]), Some(&other)),
        // What is said later of the same is what is meant: a key may live longer than it was to at first.
        (key(vec![of_key(0, &[ends(50)]), of_key(5, &[])], vec![good()], vec![]), None),
        (key(vec![], vec![of_name("a", 0, &[ends(50)]), of_name("b", 5, &[ends(500)])], vec![]), None),
        (key(vec![], vec![of_name("a", 0, &[ends(500)]), of_name("b", 5, &[ends(50)])], vec![]), Some(&expired)),
        // Several copies are one key.
        (
            [key(vec![], vec![of_name("a", 0, &[ends(50)])], vec![]), key(vec![], vec![of_name("a", 5, &[])], vec![])]
                .concat(),
            None,
        ),
        (
            [key(vec![], vec![of_name("a", 5, &[ends(50)])], vec![]), key(vec![], vec![good()], vec![])].concat(),
            Some(&expired),
        ),
    ] {
        assert_eq!(why_not(&keys).as_ref(), why);
    }
}

#[test]
fn a_statement_that_has_expired_itself_says_nothing() {
    let id = primary().legacy_key_id();
    let past = format!("what the key {id} says of itself had expired when the signature was made");
    assert_eq!(why_not(&key(vec![], vec![of_name("a", 0, &[itself_ends(50)])], vec![])), Some(past.clone()));
    assert_eq!(why_not(&key(vec![of_key(0, &[itself_ends(100)])], vec![of_name("a", 5, &[])], vec![])), Some(past));
    assert_eq!(why_not(&key(vec![], vec![of_name("a", 0, &[itself_ends(101)])], vec![])), None);
    assert_eq!(why_not(&key(vec![], vec![of_name("a", 0, &[itself_ends(0)])], vec![])), None);
}

#[test]
fn a_subkey_whose_binding_has_expired_signs_nothing() {
    let sub = subkey();
    let asked = |says: SubpacketData| {
        let keys = key(vec![], vec![of_name("a", 0, &[may(true)])], vec![bound(&[says])]);
        asked(&signature(&sub, SignatureType::Binary), &keys).expect("it can be found out")
    };
    let id = sub.legacy_key_id();
    assert_eq!(asked(itself_ends(101)), Verdict::Verified);
    let past = format!("what binds the key {id} had expired when the signature was made");
    assert_eq!(asked(itself_ends(50)), Verdict::Not(past));
    assert_eq!(asked(ends(50)), Verdict::Not(format!("the key {id} had expired when the signature was made")));
}

/// A subkey that the main key binds, and that agrees.
fn bound(says: &[SubpacketData]) -> SignedPublicSubKey {
    let (main, sub) = (primary(), subkey());
    let back = config(&sub, SignatureType::KeyBinding, 0, &[]);
    let back = back.sign_primary_key_binding(&sub, sub.public_key(), &Password::empty(), main.public_key());
    let back = SubpacketData::EmbeddedSignature(Box::new(back.expect("it signs")));
    let says = [&[may(true), back], says].concat();
    let binding = config(&main, SignatureType::SubkeyBinding, 0, &says);
    let binding = binding.sign_subkey_binding(&main, main.public_key(), &Password::empty(), sub.public_key());
    SignedPublicSubKey::new(sub.public_key().clone(), vec![binding.expect("it signs")])
}

/// What takes a subkey back does so wherever it stands in a file of keys, as what takes a key back does.
#[test]
fn a_revocation_of_a_subkey_is_heard_wherever_it_stands() {
    let (main, sub) = (primary(), subkey());
    let revocation = config(&main, SignatureType::SubkeyRevocation, 5, &[]);
    let revocation = revocation.sign_subkey_binding(&main, main.public_key(), &Password::empty(), sub.public_key());
    let revocation = revocation.expect("it signs");
    let mut detached = Vec::new();
    revocation.to_writer_with_header(&mut detached).expect("it can be written");
    let whole = key(vec![], vec![of_name("a", 0, &[may(true)])], vec![bound(&[])]);
    let alone = key(vec![], vec![of_name("a", 0, &[may(true)])], vec![]);
    let by_subkey = signature(&sub, SignatureType::Binary);
    let asked = |keys: &[&[u8]]| asked(&by_subkey, &keys.concat());
    assert_eq!(asked(&[&whole]).expect("it can be found out"), Verdict::Verified);
    let mut other = bound(&[]);
    other.signatures.push(revocation);
    let inside = key(vec![], vec![of_name("a", 0, &[may(true)])], vec![other]);
    let revoked = Verdict::Not(format!("the key {} was revoked", sub.legacy_key_id()));
    for keys in [
        &[inside.as_slice()] as &[&[u8]],
        &[&whole, &detached],
        &[&detached, &whole],
        &[&whole, another(), &detached],
        &[&inside, &whole],
    ] {
        assert_eq!(asked(keys).expect("it can be found out"), revoked);
    }
    let problem = asked(&[&alone, &detached]).expect_err("it revokes none of them").to_string();
    assert!(problem.ends_with(" that revokes none of them"), "{problem}");
}

/// A key that has nothing to do with the others.
fn another() -> &'static [u8] {
    static OTHER: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    OTHER.get_or_init(|| {
        let mut packets = Vec::new();
        let armored = include_bytes!("../test_data/ada.asc").as_slice();
        std::io::Read::read_to_end(&mut pgp::armor::Dearmor::new(armored), &mut packets).expect("it is armored");
        packets
    })
}

/// A signature over a text would be true of other bytes too: those whose lines end otherwise.
#[test]
fn a_signature_over_a_text_is_not_one_over_bytes() {
    let keys = key(vec![], vec![of_name("a", 0, &[may(true)])], vec![]);
    let text = signature(&primary(), SignatureType::Text);
    assert_eq!(
        asked(&text, &keys).expect_err("it is an error").to_string(),
        "the OpenPGP signature is not verified: it is of the kind Text, which is not over the bytes of a file"
    );
}
