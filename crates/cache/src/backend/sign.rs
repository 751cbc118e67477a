//! HMAC with SHA-256, by which services know who asks.
//!
//! Reference: RFC 2104.

use sha2::{Digest, Sha256};

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// Returns the authentication code of `message` under `key`.
pub(crate) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut padded = [0; BLOCK];
    if key.len() > BLOCK {
        padded[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        padded[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(padded.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

/// Returns the digest of `message` in hexadecimal digits.
pub(crate) fn sha256_hex(message: &[u8]) -> String {
    stave_oci::digest::hex(&Sha256::digest(message))
}

/// Returns headers as they are signed: each on a line.
pub(crate) fn lines<'h>(headers: impl Iterator<Item = &'h (&'static str, String)>) -> String {
    headers.fold(String::new(), |lines, (name, value)| lines + name + ":" + value + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test cases 2 and 6.
    #[test]
    fn codes_are_those_of_the_standard() {
        let code = |key: &[u8], message: &[u8]| stave_oci::digest::hex(&hmac(key, message));
        assert_eq!(
            code(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            code(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
