//! Cache keys: one pure, versioned function from what an operation is to 32 bytes.
//!
//! The byte layout is specified in `docs/cache-key.md`; the vectors in `test_data/vectors` keep it from changing by
//! accident. A change of the layout or of the meaning of a field needs a new [`KEY_SCHEMA`].

use std::fmt;

use stave_oci::digest::hex;
use stave_oci::{Hasher, TreeDigest};

use crate::op::{CopySource, Network, Op};

/// Version of the layout. Records of other versions simply miss.
pub const KEY_SCHEMA: u32 = 1;

/// Identity of the result of an operation on given inputs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey([u8; 32]);

/// Identity of an instruction without its inputs: operations that differ only in what they read have the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpDigest([u8; 32]);

macro_rules! identity {
    ($name:ident) => {
        impl $name {
            /// Returns the identity that [`Self::as_bytes`] gave, read back from a record.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Returns the bytes, for a record.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), &hex(&self.0)[..12])
            }
        }
    };
}

identity!(CacheKey);
identity!(OpDigest);

/// Returns the key of `op`. `inputs` are the keys of [`Op::inputs`], in that order; `selection` is the content of
/// the context files that a copy reads, and `None` for all that [reads no context](Op::reads_context).
#[must_use]
pub fn cache_key(op: &Op, inputs: &[CacheKey], selection: Option<&TreeDigest>) -> CacheKey {
    assert_eq!(op.inputs().count(), inputs.len(), "every input has a key");
    assert_eq!(op.reads_context(), selection.is_some(), "exactly what reads the context has a selection");
    let mut encoder = Encoder::new("stave.cache-key");
    encoder.op(op);
    encoder.list(inputs, |encoder, key| encoder.bytes(&key.0));
    encoder.option(selection, |encoder, digest| encoder.bytes(digest.as_bytes()));
    CacheKey(encoder.0.finish())
}

/// Returns the identity of the instruction: neither nodes nor the content of the context are part of it.
#[must_use]
pub fn op_digest(op: &Op) -> OpDigest {
    let mut encoder = Encoder::new("stave.op-digest");
    encoder.op(op);
    OpDigest(encoder.0.finish())
}

/// Writes values so that no two different sequences of values give the same bytes. It takes sized integers only.
struct Encoder(Hasher);

impl Encoder {
    fn new(domain: &str) -> Self {
        let mut encoder = Self(Hasher::new());
        encoder.text(domain);
        encoder.u32(KEY_SCHEMA);
        encoder
    }

    fn u8(&mut self, value: u8) {
        self.0.update(&[value]);
    }

    fn u32(&mut self, value: u32) {
        self.0.update(&value.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        let length = u64::try_from(length).expect("lengths fit into 64 bits");
        self.0.update(&length.to_le_bytes());
    }

    fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.length(items.len());
        for value in items {
            item(self, value);
        }
    }

    fn option<T>(&mut self, value: Option<T>, some: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            some(self, value);
        }
    }

    /// Every field is taken apart by name, so that a new one cannot be forgotten here.
    fn op(&mut self, op: &Op) {
        match op {
            Op::Scratch => self.u8(0),
            Op::Image(crate::Image { id: _, diff_ids }) => {
                self.u8(1);
                self.list(diff_ids, |encoder, diff_id| encoder.bytes(diff_id.as_bytes()));
            }
            Op::Exec(crate::Exec { parent: _, args, env, unkeyed_env: _, cwd, user, hostname, network }) => {
                self.u8(2);
                self.list(args, |encoder, text| encoder.text(text));
                self.list(env, |encoder, text| encoder.text(text));
                self.text(cwd);
                self.text(user);
                self.text(hostname);
                self.u8(match network {
                    Network::Host => 0,
                    Network::None => 1,
                });
            }
            Op::Copy(crate::Copy { parent: _, sources, dest, dest_is_dir, chown, chmod, unpack }) => {
                self.u8(3);
                self.list(sources, Self::source);
                self.text(dest);
                self.bool(*dest_is_dir);
                self.option(chown.as_deref(), Self::text);
                self.option(*chmod, Self::u32);
                self.bool(*unpack);
            }
            Op::MakeDir(crate::MakeDir { parent: _, path, owner }) => {
                self.u8(4);
                self.text(path);
                self.text(owner);
            }
        }
    }

    fn source(&mut self, source: &CopySource) {
        match source {
            CopySource::Context { pattern } => {
                self.u8(0);
                self.text(pattern);
            }
            CopySource::Tree { node: _, pattern } => {
                self.u8(1);
                self.text(pattern);
            }
        }
    }
}
