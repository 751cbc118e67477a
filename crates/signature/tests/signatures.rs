//! Signatures that `GnuPG`, OpenSSH and Git made, and what becomes of them in hostile hands. E018

use std::io::{self, Read};

use pgp::ser::Serialize;
use proptest::prelude::*;
use stave_signature::git::{Commit, Signed, Tag};
use stave_signature::{Kind, SignatureError, Verdict, kind_of, verify, verify_openpgp};

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("../test_data/", $name)).as_slice()
    };
}

const ADA: &[u8] = data!("ada.asc");
const BOB: &[u8] = data!("bob.asc");
const ADA_SSH: &[u8] = data!("ada.pub");
const FILE: &[u8] = b"what is signed\n";

fn commit(raw: &[u8]) -> Signed {
    Commit::parse(raw).expect("a commit").signed
}

fn tag(raw: &[u8]) -> Signed {
    Tag::parse(raw).expect("a tag").signed
}

fn asked(signed: &Signed, keys: &[u8]) -> Result<Verdict, SignatureError> {
    verify(&signed.payload, signed.signature.as_ref().expect("it is signed"), keys)
}

fn verdict(signed: &Signed, keys: &[u8]) -> Verdict {
    asked(signed, keys).expect("it can be found out")
}

fn why_not(signed: &Signed, keys: &[u8]) -> String {
    match verdict(signed, keys) {
        Verdict::Not(why) => why,
        Verdict::Verified => panic!("it is verified"),
    }
}

fn of_file(signature: &[u8], keys: &[u8]) -> Result<Verdict, SignatureError> {
    verify_openpgp(&|| Ok(Box::new(FILE)), signature, keys)
}

#[test]
fn what_the_key_signed_is_verified() {
    for (signed, keys) in [
        (commit(data!("ada.pgp.commit")), ADA),
        (commit(data!("bob.pgp.commit")), BOB),
        (commit(data!("gone.pgp.commit")), data!("gone.before.asc")),
        (commit(data!("ada.ssh.commit")), ADA_SSH),
        (commit(data!("bob.ssh.commit")), data!("bob.pub")),
        (commit(data!("eve.ssh.commit")), data!("eve.pub")),
        (tag(data!("ada.pgp.tag")), ADA),
        (tag(data!("ada.ssh.tag")), ADA_SSH),
    ] {
        assert_eq!(verdict(&signed, keys), Verdict::Verified);
    }
}

#[test]
fn several_keys_are_tried_each() {
    let both = [BOB, ADA].concat();
    assert_eq!(verdict(&commit(data!("ada.pgp.commit")), &both), Verdict::Verified);
    assert_eq!(verdict(&commit(data!("bob.pgp.commit")), &both), Verdict::Verified);
    let list = format!(
        "# ours\nada@example.com {}\n\nbob@example.com {}",
        String::from_utf8_lossy(ADA_SSH),
        String::from_utf8_lossy(data!("bob.pub"))
    );
    assert_eq!(verdict(&commit(data!("ada.ssh.commit")), list.as_bytes()), Verdict::Verified);
    assert_eq!(verdict(&commit(data!("bob.ssh.commit")), list.as_bytes()), Verdict::Verified);
    for keys in [ADA, BOB] {
        assert_eq!(of_file(data!("both.file.asc"), keys).expect("it can be found out"), Verdict::Verified);
    }
}

#[test]
fn what_another_key_signed_is_not() {
    let why = why_not(&commit(data!("ada.pgp.commit")), BOB);
    assert!(why.starts_with("it is by the key ") && why.ends_with(", which is none of those given"), "{why}");
    let why = why_not(&commit(data!("ada.ssh.commit")), data!("bob.pub"));
    assert!(why.starts_with("it is by the key SHA256:"), "{why}");
    assert_eq!(why_not(&commit(data!("ada.ssh.commit")), ADA), "it is a signature of SSH, and the keys are of OpenPGP");
    assert_eq!(
        why_not(&commit(data!("ada.pgp.commit")), ADA_SSH),
        "it is a signature of OpenPGP, and the keys are of SSH"
    );
}

/// The signature of one commit, put on another, is that of neither.
#[test]
fn a_signature_that_was_moved_is_none() {
    for (from, keys) in [(data!("ada.pgp.commit"), ADA), (data!("ada.ssh.commit"), ADA_SSH)] {
        let moved = Signed { payload: commit(data!("unsigned.commit")).payload, signature: commit(from).signature };
        assert_eq!(why_not(&moved, keys), "it is over something else");
    }
}

/// What was signed as a file is no commit, even if a commit could look like it.
#[test]
fn a_signature_of_ssh_for_something_else_is_not_gits() {
    let verdict = verify(FILE, data!("ada.file.sig"), ADA_SSH).expect("it can be found out");
    assert_eq!(verdict, Verdict::Not("it was made for `file`, and not for `git`".to_owned()));
}

#[test]
fn keys_that_were_revoked_or_had_expired_sign_nothing() {
    let why = why_not(&commit(data!("gone.pgp.commit")), data!("gone.asc"));
    assert!(why.ends_with(" was revoked"), "{why}");
    let why = why_not(&commit(data!("late.pgp.commit")), data!("late.asc"));
    assert!(why.ends_with(" had expired when the signature was made"), "{why}");
}

/// The packets of a block in armor, one by one.
fn packets(armored: &[u8]) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    pgp::armor::Dearmor::new(armored).read_to_end(&mut bytes).expect("it is armor");
    let packets = pgp::packet::PacketParser::new(bytes.as_slice());
    packets.map(|packet| packet.expect("it is a packet").to_bytes().expect("it can be written")).collect()
}

fn armored(packets: &[Vec<u8>]) -> Vec<u8> {
    struct Raw(Vec<u8>);
    impl Serialize for Raw {
        fn to_writer<W: io::Write>(&self, writer: &mut W) -> pgp::errors::Result<()> {
            Ok(writer.write_all(&self.0)?)
        }
        fn write_len(&self) -> usize {
            self.0.len()
        }
    }
    let mut text = Vec::new();
    let block = pgp::armor::BlockType::PublicKey;
    pgp::armor::write(&Raw(packets.concat()), block, &mut text, None, false).expect("it can be written");
    text
}

/// A revocation is heard wherever in the file it is: in another copy, alone in a block, or behind everything.
#[test]
fn a_key_that_was_revoked_anywhere_in_the_file_signs_nothing() {
    let (before, after) = (data!("gone.before.asc"), data!("gone.asc"));
    let signed = commit(data!("gone.pgp.commit"));
    // The key comes first, and what revokes it second.
    let revocation = packets(after).swap_remove(1);
    let alone = armored(std::slice::from_ref(&revocation));
    let binary = packets(before).concat();
    for keys in [
        [before, after].concat(),
        [after, before].concat(),
        [before, ADA, after].concat(),
        [before, &alone].concat(),
        [&alone, before].concat(),
        [ADA, &alone, before].concat(),
        armored(&[binary.clone(), revocation.clone()]),
        [binary.clone(), revocation.clone()].concat(),
        [revocation.clone(), binary.clone()].concat(),
        [binary.clone(), packets(ADA).concat(), revocation].concat(),
        [binary.clone(), packets(after).concat()].concat(),
    ] {
        let why = why_not(&signed, &keys);
        assert!(why.ends_with(" was revoked"), "{why}");
    }
    assert_eq!(verdict(&signed, &binary), Verdict::Verified);
    assert_eq!(verdict(&signed, &[before, before].concat()), Verdict::Verified);
    let problem = asked(&commit(data!("ada.pgp.commit")), &[ADA, &alone].concat()).expect_err("it revokes another");
    let problem = problem.to_string();
    assert!(problem.starts_with("the keys cannot be used: there is a revocation by the key "), "{problem}");
    assert!(problem.ends_with(" that revokes none of them"), "{problem}");
}

/// What is lost of a file may be what takes a key back.
#[test]
fn keys_that_are_cut_off_or_out_of_place_are_an_error() {
    let signed = commit(data!("ada.pgp.commit"));
    let problem = |keys: &[u8]| asked(&signed, keys).expect_err("it is an error").to_string();
    let all = packets(ADA);
    let whole = all.concat();
    for cut in [1, 40, all[all.len() - 1].len() - 1] {
        let cut = &whole[..whole.len() - cut];
        assert_eq!(problem(cut), "the keys cannot be used: they are cut off");
        assert_eq!(problem(&armored(&[cut.to_vec()])), "the keys cannot be used: they are cut off");
    }
    let unended = ADA.strip_suffix(b"-----END PGP PUBLIC KEY BLOCK-----\n").expect("it has an end");
    let cut = problem(&[unended, BOB].concat());
    assert!(cut.starts_with("the keys cannot be used: they are none of OpenPGP: "), "{cut}");
    assert_eq!(problem(&armored(&[])), "the keys cannot be used: a block of them is empty");
    assert_eq!(
        problem(&armored(&all[1..])),
        "the keys cannot be used: a part of them (UserId) is not where public keys have it"
    );
    assert_eq!(
        problem(&[whole.clone(), all[1].clone()].concat()),
        "the keys cannot be used: a part of them (UserId) is not where public keys have it"
    );
    assert_eq!(
        problem(&[ADA, data!("ada.file.asc")].concat()),
        "the keys cannot be used: they have the line `-----BEGIN PGP SIGNATURE-----`, expected \
         `-----BEGIN PGP PUBLIC KEY BLOCK-----`"
    );
    // A signature of the version 9 says nothing that is understood.
    let unknown = [&[0xc2, 0x02, 9, 0x20][..], &whole].concat();
    let unknown = problem(&unknown);
    assert!(unknown.ends_with(", and may revoke one"), "{unknown}");
    // What a keyring has for itself, and what is to come, is passed over.
    let with_trust = [all[0].clone(), all[1].clone(), vec![0xcc, 0x01, 0x00], all[2..].concat()].concat();
    assert_eq!(verdict(&signed, &with_trust), Verdict::Verified);
}

#[test]
fn what_cannot_be_found_out_is_an_error_that_names_it() {
    let problem = |result: Result<Verdict, SignatureError>| result.expect_err("it is an error").to_string();
    let signed = commit(data!("short.pgp.commit"));
    assert_eq!(
        problem(asked(&signed, data!("short.asc"))),
        "the OpenPGP signature is not verified: its key of RSA has 1024 bits, expected at least 2048"
    );
    assert_eq!(
        problem(asked(&commit(data!("odd.ssh.commit")), data!("odd.pub"))),
        "the SSH signature is not verified: its key of RSA has 2047 bits, expected at least 2048"
    );
    assert_eq!(
        problem(of_file(data!("sha1.file.asc"), BOB)),
        "the OpenPGP signature is not verified: it was made with SHA1, which is too weak"
    );
    assert_eq!(
        problem(of_file(data!("expires.file.asc"), BOB)),
        "the OpenPGP signature is not verified: it is good for some time only, and no clock is looked at"
    );
    let x509 = b"-----BEGIN SIGNED MESSAGE-----\nAAAA\n-----END SIGNED MESSAGE-----\n";
    assert_eq!(problem(verify(FILE, x509, ADA)), "the X.509 signature is not verified: it is one of X.509 (S/MIME)");
    let signed = commit(data!("ada.ssh.commit"));
    assert_eq!(problem(asked(&signed, b"# nobody\n")), "the keys cannot be used: there is none");
    for options in [
        "cert-authority ",
        "cert-authority,no-pty ",
        "no-pty,cert-authority ",
        "Restrict ",
        "ada,no-X11-forwarding ",
        "@revoked ",
        "@cert-authority ",
        "namespaces=\"file\" ",
        "ada@example.com namespaces=\"file\" ",
    ] {
        assert_eq!(
            problem(asked(&signed, &[options.as_bytes(), ADA_SSH].concat())),
            "the keys cannot be used: line 1: expected `KIND KEY` or `NAME KIND KEY`, without options"
        );
    }
    let missing = || -> io::Result<Box<dyn Read>> { Err(io::Error::other("it is gone")) };
    assert_eq!(problem(verify_openpgp(&missing, data!("ada.file.asc"), ADA)), "cannot read what was signed");
}

#[test]
fn objects_are_told_in_words() {
    let told = Commit::parse(data!("ada.pgp.commit")).expect("a commit");
    assert_eq!((told.author.name.as_str(), told.author.email.as_str()), ("Ada", "ada@example.com"));
    assert_eq!(told.committer.when.as_deref(), Some("2024-06-01T14:00:00+02:00"));
    assert_eq!((told.message.as_str(), told.parents.len(), told.tree.len()), ("signed by ada\n", 0, 40));
    let told = Tag::parse(data!("ada.ssh.tag")).expect("a tag");
    assert_eq!((told.tag.as_str(), told.kind.as_str(), told.message.as_str()), ("v2", "commit", "version 2\n"));
    assert_eq!(commit(data!("unsigned.commit")).signature, None);
    let kind = |signed: &Signed| kind_of(signed.signature.as_ref().expect("it is signed")).expect("it is known");
    let Kind::OpenPgp { version: 4, key_id: Some(key_id) } = kind(&commit(data!("ada.pgp.commit"))) else {
        panic!("it is of OpenPGP")
    };
    assert_eq!(key_id.len(), 16);
    let Kind::Ssh { version: 1, public_key } = kind(&tag(data!("ada.ssh.tag"))) else { panic!("it is of SSH") };
    assert!(public_key.starts_with("SHA256:"), "{public_key}");
}

#[test]
fn what_git_does_not_write_is_an_error() {
    let problem = |raw: &[u8]| Commit::parse(raw).expect_err("it is none").to_string();
    assert_eq!(problem(b"tree 1\n"), "the commit is not what Git writes: its headers have no end");
    assert_eq!(problem(b"author a\n\nx"), "the commit is not what Git writes: it has no `tree`");
    assert_eq!(problem(b" tree 1\n\n"), "the commit is not what Git writes: it begins with a blank");
    let twice = b"tree 1\ngpgsig a\ngpgsig-sha256 b\n\nx";
    assert_eq!(problem(twice), "the commit is not what Git writes: it has several signatures");
}

proptest! {
    /// Whatever a byte of an object becomes, it is not verified any more unless it is the same.
    #[test]
    fn no_changed_object_is_verified(at in 0_usize..2000, byte in any::<u8>(), which in 0_usize..4) {
        let (raw, keys): (&[u8], &[u8]) = [
            (data!("ada.pgp.commit"), ADA), (data!("bob.pgp.commit"), BOB),
            (data!("ada.ssh.commit"), ADA_SSH), (data!("bob.ssh.commit"), data!("bob.pub")),
        ][which];
        let mut changed = raw.to_vec();
        let at = at % changed.len();
        changed[at] = byte;
        let Ok(object) = Commit::parse(&changed) else { return Ok(()) };
        let same = object.signed.payload == commit(raw).payload;
        let Some(signature) = object.signed.signature else { return Ok(()) };
        if let Ok(Verdict::Verified) = verify(&object.signed.payload, &signature, keys) {
            prop_assert!(same);
        }
    }

    /// What is cut off anywhere is an error or not verified, never a panic.
    #[test]
    fn no_cut_signature_is_verified(cut in 1_usize..600, which in 0_usize..2) {
        let (raw, keys): (&[u8], &[u8]) = [(data!("ada.file.asc"), ADA), (data!("bob.file.asc"), BOB)][which];
        let text = raw.trim_ascii_end();
        let end = text.len().saturating_sub(cut);
        // Without the last line, the check sum and what the padding does not say nothing of the signature is lost.
        prop_assume!(cut > 40);
        prop_assert!(!matches!(of_file(&text[..end], keys), Ok(Verdict::Verified)));
    }

    /// Any bytes are a signature, keys and an object, or an error.
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..400), armor in 0_usize..3) {
        let begin = ["", "-----BEGIN PGP SIGNATURE-----\n\n", "-----BEGIN SSH SIGNATURE-----\n"][armor];
        let text = [begin.as_bytes(), bytes.as_slice()].concat();
        prop_assert!(!matches!(verify(FILE, &text, ADA), Ok(Verdict::Verified)));
        prop_assert!(!matches!(of_file(data!("ada.file.asc"), &bytes), Ok(Verdict::Verified)));
        let object = [b"tree 1\ngpgsig ".as_slice(), &bytes].concat();
        if let Ok(commit) = Commit::parse(&object) {
            prop_assert!(commit.signed.payload.len() <= object.len());
        }
    }
}
