//! Cache keys: one pure, versioned function from what an operation is to 32 bytes.
//!
//! The byte layout is specified in `docs/cache-key.md`; the vectors in `test_data/vectors` keep it from changing by
//! accident. A change of the layout or of the meaning of a field needs a new [`KEY_SCHEMA`].

use std::fmt;

use stave_oci::digest::hex;
use stave_oci::{Hasher, TreeDigest};

use crate::exec::{Device, Exec, Mount, MountFlag, MountKind, MountSource, Network, Security, Sharing, Ulimit};
use crate::op::{After, Copy, CopySource, Git, Http, MakeDir, Merge, Op, Unpack};
use crate::remote::{GitSource, GitTime, without_credentials};

/// Version of the layout. Records of other versions simply miss.
pub const KEY_SCHEMA: u32 = 3;

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
/// what the operation reads outside the graph, and `None` for all that [reads nothing there](Op::reads_outside).
#[must_use]
pub fn cache_key(op: &Op, inputs: &[CacheKey], selection: Option<&TreeDigest>) -> CacheKey {
    assert_eq!(op.inputs().count(), inputs.len(), "every input has a key");
    assert_eq!(op.reads_outside(), selection.is_some(), "exactly what reads outside has a selection");
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

    fn i64(&mut self, value: i64) {
        self.0.update(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.update(&value.to_le_bytes());
    }

    fn texts(&mut self, texts: &[String]) {
        self.list(texts, |encoder, text| encoder.text(text));
    }

    /// Every field is taken apart by name, so that a new one cannot be forgotten here.
    fn op(&mut self, op: &Op) {
        match op {
            Op::Scratch => self.u8(0),
            Op::Image(crate::Image { id: _, diff_ids }) => {
                self.u8(1);
                self.list(diff_ids, |encoder, diff_id| encoder.bytes(diff_id.as_bytes()));
            }
            Op::Exec(exec) => self.exec(exec),
            Op::Copy(copy) => self.copy(copy),
            Op::MakeDir(MakeDir { parent: _, path, owner }) => {
                self.u8(4);
                self.text(path);
                self.text(owner);
            }
            Op::Http(Http { url: _, name, checksum: _ }) => {
                self.u8(5);
                self.text(name);
            }
            Op::Git(Git { source }) => self.git(source),
            Op::Merge(Merge { lower: _, upper: _ }) => self.u8(7),
            Op::After(After { parent: _, others: _ }) => self.u8(8),
        }
    }

    fn exec(&mut self, exec: &Exec) {
        let Exec {
            parent: _,
            args,
            env,
            unkeyed_env: _,
            cwd,
            user,
            hostname,
            network,
            wants_host_network,
            recorded,
            mounts,
            security,
            hosts,
            ulimits,
            shm_bytes,
            devices,
            cgroup_parent,
        } = exec;
        self.u8(2);
        self.texts(args);
        self.texts(env);
        self.text(cwd);
        self.text(user);
        self.text(hostname);
        self.u8(match (network, recorded) {
            (Network::Host, false) => 0,
            (Network::None, _) => 1,
            (Network::Host, true) if *wants_host_network => 3,
            (Network::Host, true) => 2,
        });
        self.list(mounts, Self::mount);
        self.u8(match security {
            Security::Sandbox => 0,
            Security::Insecure => 1,
        });
        self.list(hosts, |encoder, (name, _address)| encoder.text(name));
        self.list(ulimits, |encoder, Ulimit { name, soft, hard }| {
            encoder.text(name);
            encoder.i64(*soft);
            encoder.i64(*hard);
        });
        self.option(*shm_bytes, Self::u64);
        self.list(devices, |encoder, Device { name, required }| {
            encoder.text(name);
            encoder.bool(*required);
        });
        self.option(cgroup_parent.as_deref(), Self::text);
    }

    fn mount(&mut self, Mount { target, flags, kind }: &Mount) {
        self.text(target);
        // No kind has a number as high as this, so that a mount without flags is written as it was before there were any.
        if !flags.is_empty() {
            let bit = |flag: &MountFlag| match flag {
                MountFlag::NoSuid => 1,
                MountFlag::NoExec => 2,
                MountFlag::ForUser => 4,
                MountFlag::NoDereference => 8,
            };
            self.u8(0x80 | flags.iter().map(bit).sum::<u8>());
        }
        match kind {
            MountKind::Bind { source, path, writable } => {
                self.u8(0);
                self.mount_source(*source, path);
                self.bool(*writable);
            }
            MountKind::Cache { id, source, path, writable, sharing, mode, uid, gid } => {
                self.u8(1);
                self.text(id);
                self.mount_source(*source, path);
                self.bool(*writable);
                self.u8(match sharing {
                    Sharing::Shared => 0,
                    Sharing::Private => 1,
                    Sharing::Locked => 2,
                });
                self.file(*mode, *uid, *gid);
            }
            MountKind::Tmpfs { bytes } => {
                self.u8(2);
                self.option(*bytes, Self::u64);
            }
            MountKind::Secret { id, required, mode, uid, gid, env, file } => {
                self.u8(3);
                self.text(id);
                self.bool(*required);
                self.file(*mode, *uid, *gid);
                self.option(env.as_deref(), Self::text);
                self.bool(*file);
            }
            MountKind::Ssh { id, required, mode, uid, gid } => {
                self.u8(4);
                self.text(id);
                self.bool(*required);
                self.file(*mode, *uid, *gid);
            }
            MountKind::Inline { content, mode } => {
                self.u8(5);
                self.text(content);
                self.u32(*mode);
            }
        }
    }

    fn mount_source(&mut self, source: MountSource, path: &str) {
        self.u8(match source {
            MountSource::Empty => 0,
            MountSource::Context(_) => 1,
            MountSource::Tree(_) => 2,
        });
        self.text(path);
    }

    fn file(&mut self, mode: u32, uid: u32, gid: u32) {
        self.u32(mode);
        self.u32(uid);
        self.u32(gid);
    }

    fn copy(&mut self, copy: &Copy) {
        let Copy { parent: _, sources, dest, dest_is_dir, chown, chmod, unpack, parents, excludes } = copy;
        self.u8(3);
        self.list(sources, Self::source);
        self.text(dest);
        self.bool(*dest_is_dir);
        self.option(chown.as_deref(), Self::text);
        self.option(chmod.as_deref(), Self::text);
        self.u8(match unpack {
            Unpack::No => 0,
            Unpack::Local => 1,
            Unpack::All => 2,
        });
        self.bool(*parents);
        self.texts(excludes);
    }

    fn source(&mut self, source: &CopySource) {
        match source {
            CopySource::Context { context: _, pattern } => {
                self.u8(0);
                self.text(pattern);
            }
            CopySource::Tree { node: _, pattern } => {
                self.u8(1);
                self.text(pattern);
            }
            CopySource::Inline { name, content } => {
                self.u8(2);
                self.text(name);
                self.text(content);
            }
        }
    }

    /// The commit is what is digested. The address and the name of the commit are in the files only with `.git`.
    fn git(&mut self, source: &GitSource) {
        let GitSource { url, reference, subdir, keep_git_dir, submodules, checksum: _, mtime, fetch_by_commit: _ } =
            source;
        self.u8(6);
        let named = keep_git_dir.then(|| (without_credentials(url), reference.as_deref()));
        self.option(named, |encoder, (url, reference)| {
            encoder.text(&url);
            encoder.option(reference, Self::text);
        });
        self.option(subdir.as_deref(), Self::text);
        self.bool(*submodules);
        self.u8(match mtime {
            GitTime::Checkout => 0,
            GitTime::Commit => 1,
        });
    }
}
