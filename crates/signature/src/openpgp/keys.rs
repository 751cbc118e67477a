//! Reads public keys. Everything that a file says is heard: what cannot be read may be what takes a key back.
//!
//! Reference: RFC 9580, section 4.2 (packets), 5.2.1.11 (revocations), 6.2 (armor), 10.1 (keys).

use std::collections::BTreeMap;
use std::io::Read as _;

use pgp::armor::Dearmor;
use pgp::composed::{Deserializable as _, SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{Packet, PacketHeader, PacketTrait as _, Signature, SignatureType};
use pgp::types::{KeyDetails as _, PacketLength, Tag};

use super::Key;
use crate::detached::SignatureError;
use crate::limits::{KEY_PARTS_MAX, KEYS_MAX};

const BEGIN: &str = "-----BEGIN";
const KEY_LINE: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Reads keys: blocks in armor, one after the other, or packets. What several copies of a key say is said of one.
pub(crate) fn keys(bytes: &[u8]) -> Result<Vec<Key>, SignatureError> {
    let mut ring = Ring::default();
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.contains(BEGIN)) else {
        ring.add(bytes)?;
        return ring.keys();
    };
    let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(text.len());
        let block = &text[*start..end];
        if !block.starts_with(KEY_LINE) {
            let line = block.lines().next().unwrap_or_default().escape_debug();
            return Err(wrong(format!("they have the line `{line}`, expected `{KEY_LINE}`")));
        }
        let mut packets = Vec::new();
        Dearmor::new(block.as_bytes()).read_to_end(&mut packets).map_err(|error| unread(&error))?;
        ring.add(&packets)?;
    }
    ring.keys()
}

fn wrong(problem: impl Into<String>) -> SignatureError {
    SignatureError::Keys { problem: problem.into() }
}

fn unread(error: &impl ToString) -> SignatureError {
    wrong(format!("they are none of OpenPGP: {}", first_line(error)))
}

/// Keys by their fingerprints, and what takes one of them back, wherever in the file it stands.
#[derive(Default)]
struct Ring {
    keys: Vec<SignedPublicKey>,
    places: BTreeMap<Vec<u8>, usize>,
    revocations: Vec<Signature>,
}

impl Ring {
    /// Adds the packets of one block, or of a file without armor.
    fn add(&mut self, bytes: &[u8]) -> Result<(), SignatureError> {
        let read = packets(bytes)?;
        if read.is_empty() {
            return Err(wrong("a block of them is empty"));
        }
        let (revocations, rest): (Vec<_>, Vec<_>) = read.into_iter().partition(takes_back);
        self.revocations.extend(revocations.into_iter().filter_map(|packet| Signature::try_from(packet).ok()));
        if self.revocations.len() > KEYS_MAX {
            return Err(wrong(format!("there are more than {KEYS_MAX} revocations")));
        }
        in_order(&rest)?;
        for key in SignedPublicKey::from_packets(rest.into_iter().map(Ok).peekable()) {
            self.merge(key.map_err(|error| unread(&error))?)?;
        }
        Ok(())
    }

    /// Adds a key, or what another copy of a key says of it.
    fn merge(&mut self, key: SignedPublicKey) -> Result<(), SignatureError> {
        let place = *self.places.entry(key.fingerprint().as_bytes().to_vec()).or_insert(self.keys.len());
        if let Some(known) = self.keys.get_mut(place) {
            known.details.direct_signatures.extend(key.details.direct_signatures);
            for user in key.details.users {
                match known.details.users.iter_mut().find(|known| known.id == user.id) {
                    Some(known) => known.signatures.extend(user.signatures),
                    None => known.details.users.push(user),
                }
            }
            for subkey in key.public_subkeys {
                match known.public_subkeys.iter_mut().find(|known| known.key == subkey.key) {
                    Some(known) => known.signatures.extend(subkey.signatures),
                    None => known.public_subkeys.push(subkey),
                }
            }
        } else if place == KEYS_MAX {
            return Err(wrong(format!("there are more than {KEYS_MAX}")));
        } else {
            self.keys.push(key);
        }
        let known = &self.keys[place];
        let users = known.details.users.iter().map(|user| user.signatures.len() + 1).sum::<usize>();
        let subkeys = known.public_subkeys.iter().map(|subkey| subkey.signatures.len() + 1).sum::<usize>();
        if users + subkeys + known.details.direct_signatures.len() > KEY_PARTS_MAX {
            return Err(wrong(format!("one carries more than {KEY_PARTS_MAX} names and signatures")));
        }
        Ok(())
    }

    /// Returns the keys, each with whether it was taken back.
    ///
    /// # Errors
    /// If something takes back a key and none of these is it: it may be meant for one that is not trusted any more.
    fn keys(self) -> Result<Vec<Key>, SignatureError> {
        let mut keys: Vec<Key> = self.keys.into_iter().map(|key| Key { key, is_revoked: false }).collect();
        for revocation in self.revocations {
            let whole = keys.iter_mut().find(|key| revocation.verify_key(&key.key.primary_key).is_ok());
            if let Some(key) = whole {
                key.is_revoked = true;
            } else if let Some(subkey) = keys.iter_mut().find_map(|key| subkey_of(&mut key.key, &revocation)) {
                subkey.signatures.push(revocation);
            } else {
                let by = revocation.issuer_key_id().first().map_or_else(String::new, |id| format!(" by the key {id}"));
                return Err(wrong(format!("there is a revocation{by} that revokes none of them")));
            }
        }
        Ok(keys)
    }
}

/// Returns the subkey that `key` takes back by this revocation.
fn subkey_of<'a>(key: &'a mut SignedPublicKey, revocation: &Signature) -> Option<&'a mut SignedPublicSubKey> {
    if revocation.typ() != Some(SignatureType::SubkeyRevocation) {
        return None;
    }
    let primary = &key.primary_key;
    key.public_subkeys.iter_mut().find(|subkey| revocation.verify_subkey_binding(primary, &subkey.key).is_ok())
}

/// Whether it takes back a key or a subkey. It may stand anywhere, also behind another key than its own.
fn takes_back(packet: &Packet) -> bool {
    use SignatureType::{KeyRevocation, SubkeyRevocation};
    matches!(packet, Packet::Signature(one) if matches!(one.typ(), Some(KeyRevocation | SubkeyRevocation)))
}

/// Takes packets apart. The crate's own way drops those that it cannot read, and a revocation may be among them.
fn packets(mut bytes: &[u8]) -> Result<Vec<Packet>, SignatureError> {
    let cut = || wrong("they are cut off");
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let header = PacketHeader::try_from_reader(&mut bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => cut(),
            _ => unread(&error),
        })?;
        let PacketLength::Fixed(length) = header.packet_length() else {
            return Err(wrong("they are none of OpenPGP: a part of them does not say how long it is"));
        };
        let length = usize::try_from(length).map_err(|error| unread(&error))?;
        let (body, rest) = bytes.split_at_checked(length).ok_or_else(cut)?;
        bytes = rest;
        // Of a keyring, or for what is to come; nothing in them is about a key.
        if matches!(
            header.tag(),
            Tag::Marker | Tag::Trust | Tag::Padding | Tag::UnassignedNonCritical(_) | Tag::Experimental(_)
        ) {
            continue;
        }
        let packet = Packet::from_reader(header, body).map_err(|error| {
            wrong(format!("a part of them ({:?}) cannot be read: {}", header.tag(), first_line(&error)))
        })?;
        if let Packet::Signature(one) = &packet
            && one.typ().is_none()
        {
            return Err(wrong(format!("a signature in them has the version {:?}, and may revoke one", one.version())));
        }
        packets.push(packet);
    }
    Ok(packets)
}

fn first_line(error: &impl ToString) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Refuses what is not where it belongs, for it would be passed over: a key, its names, its subkeys, each with signatures.
fn in_order(packets: &[Packet]) -> Result<(), SignatureError> {
    let (mut has_key, mut has_subkey) = (false, false);
    for packet in packets {
        match packet.tag() {
            Tag::PublicKey => (has_key, has_subkey) = (true, false),
            Tag::Signature if has_key => {}
            Tag::PublicSubkey if has_key => has_subkey = true,
            Tag::UserId | Tag::UserAttribute if has_key && !has_subkey => {}
            other => return Err(wrong(format!("a part of them ({other:?}) is not where public keys have it"))),
        }
    }
    Ok(())
}
