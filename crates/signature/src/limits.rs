//! Every number that bounds what somebody else's signature, key or object may make this crate do.

/// Largest commit or tag that is read, in bytes. Their messages are texts for people.
pub const GIT_OBJECT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Largest signature, in bytes.
pub const SIGNATURE_BYTES_MAX: usize = 512 * 1024;

/// How many signatures of one text are looked at.
pub const SIGNATURES_MAX: usize = 16;

/// Largest file of keys, in bytes.
pub const KEYS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many keys one file may have. Each of them costs a verification at most.
pub const KEYS_MAX: usize = 1024;

/// How many names and signatures about itself one key of `OpenPGP` may carry. Each of them costs a verification.
pub const KEY_PARTS_MAX: usize = 4096;

/// How many parents one commit may have.
pub const PARENTS_MAX: usize = 4096;

/// Shortest key of RSA that is trusted, in bits.
///
/// Reference: NIST SP 800-131A, revision 2, table 2.
pub const RSA_BITS_MIN: usize = 2048;

/// Largest bundle of Sigstore, or payload that is signed with a plain key, in bytes.
pub const BUNDLE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many signatures and signed statements beside one image are looked at.
pub const IMAGE_SIGNATURES_MAX: usize = 64;

/// Largest root of trust, in bytes. That of the public Sigstore has 7 KiB.
pub const TRUSTED_ROOT_BYTES_MAX: usize = 1024 * 1024;
