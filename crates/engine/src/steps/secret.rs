//! Secrets: bytes of the caller's that a command sees while it runs and that are nowhere afterwards.

use std::fs::File;
use std::io::Read as _;

use crate::error::EngineError;
use crate::request::{Grants, SecretSource};

/// Bytes of one secret at most.
///
/// Reference: BuildKit, `session/secrets/secrets.go`, `MaxSecretSize`.
pub(crate) const SECRET_BYTES_MAX: u64 = 500 * 1024;

/// Returns the secret `id`; `None` if the caller has given none and the command can do without.
pub(crate) fn read(grants: &Grants, id: &str, required: bool) -> Result<Option<Vec<u8>>, EngineError> {
    let bytes = match grants.secrets.get(id) {
        None if required => {
            let hint = format!("Give it with `--secret id={id},src=FILE` or `--secret id={id},env=NAME`.");
            return Err(EngineError::request(format!("the step needs secret `{id}`"), Some(&hint)));
        }
        None => return Ok(None),
        Some(SecretSource::Value(bytes)) => bytes.clone(),
        Some(SecretSource::File(path)) => {
            let mut bytes = Vec::new();
            File::open(path)
                .and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes))
                .map_err(|source| EngineError::io("read the secret in", path, source))?;
            bytes
        }
    };
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(EngineError::request(format!("secret `{id}` is longer than {SECRET_BYTES_MAX} bytes"), None));
    }
    Ok(Some(bytes))
}

/// Returns a secret as the value of a variable: empty if there is none.
pub(crate) fn text(id: &str, content: Option<&[u8]>) -> Result<String, EngineError> {
    let text = std::str::from_utf8(content.unwrap_or_default()).ok().filter(|text| !text.contains('\0'));
    text.map(str::to_owned).ok_or_else(|| {
        let message = format!("secret `{id}` cannot be the value of a variable: it is no text");
        EngineError::request(message, Some("Mount it as a file, without `env`."))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn grants(source: SecretSource) -> Grants {
        Grants { secrets: BTreeMap::from([("s".to_owned(), source)]), ..Grants::default() }
    }

    #[test]
    fn a_secret_that_is_missing_or_too_long_is_an_error_that_names_it() {
        assert_eq!(read(&Grants::default(), "s", false).expect("it is not needed"), None);
        let error = read(&Grants::default(), "s", true).expect_err("it is needed");
        assert_eq!(error.to_string(), "the step needs secret `s`");
        let long = vec![b'x'; 500 * 1024 + 1];
        let error = read(&grants(SecretSource::Value(long)), "s", false).expect_err("it is too long");
        assert_eq!(error.to_string(), "secret `s` is longer than 512000 bytes");
        assert!(read(&grants(SecretSource::File("/nowhere/at/all".into())), "s", false).is_err());
        assert!(text("s", Some(b"a\0b")).is_err() && text("s", Some(b"\xff")).is_err());
        assert_eq!(text("s", None).expect("nothing is a text"), "");
        assert_eq!(format!("{:?}", SecretSource::Value(b"hush".to_vec())), "Value(4 bytes)");
    }
}
