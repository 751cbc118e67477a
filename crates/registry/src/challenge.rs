//! The `WWW-Authenticate` header: what a registry wants before it answers.
//!
//! Reference: RFC 9110, section 11.6.1; the token protocol of `distribution`.

use crate::limits;

/// How a registry wants to be authenticated to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// With a user name and a password.
    Basic,
    /// With a token that another server gives.
    Bearer {
        /// The token server's address.
        realm: String,
        /// What the token server knows the registry as.
        service: String,
        /// What the token must allow; empty if the registry did not say.
        scope: String,
    },
}

/// Why a challenge cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// A 401 without the header.
    #[error("there is no `WWW-Authenticate` header in its answer")]
    Missing,
    /// The header breaks the grammar.
    #[error("its `WWW-Authenticate` header is malformed")]
    Malformed,
    /// Only schemes that stave does not know.
    #[error("its `WWW-Authenticate` header asks for neither `Bearer` nor `Basic`")]
    Unknown,
    /// `Bearer` without saying who gives the token.
    #[error("its `WWW-Authenticate` header has no `realm`")]
    NoRealm,
    /// The same parameter twice: two readers could see two servers.
    #[error("its `WWW-Authenticate` header has the parameter `{0}` twice")]
    Duplicate(String),
}

/// Returns what the headers' `values` ask for; `Bearer` if both are offered.
///
/// Errors: [`ChallengeError`], also if any of the values breaks the grammar.
pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Challenge, ChallengeError> {
    let mut found = Vec::new();
    let mut any = false;
    for value in values {
        any = true;
        if value.len() > limits::CHALLENGE_BYTES_MAX || !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            return Err(ChallengeError::Malformed);
        }
        Parser { rest: value }.challenges(&mut found)?;
    }
    if !any {
        return Err(ChallengeError::Missing);
    }
    let mut basic = false;
    for challenge in found {
        match challenge.scheme.as_str() {
            "bearer" => return bearer(&challenge),
            "basic" => basic = true,
            _ => {}
        }
    }
    if basic { Ok(Challenge::Basic) } else { Err(ChallengeError::Unknown) }
}

fn bearer(challenge: &Raw) -> Result<Challenge, ChallengeError> {
    let value = |name: &str| challenge.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let realm = value("realm").filter(|realm| !realm.is_empty()).ok_or(ChallengeError::NoRealm)?;
    let service = value("service").unwrap_or_default();
    Ok(Challenge::Bearer { realm, service, scope: value("scope").unwrap_or_default() })
}

struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl Parser<'_> {
    /// `challenge *( "," challenge )`, where each challenge's parameters are separated by commas too: a token is a
    /// parameter's name if `=` follows it, and a scheme otherwise.
    fn challenges(&mut self, found: &mut Vec<Raw>) -> Result<(), ChallengeError> {
        loop {
            self.skip(b" \t,");
            if self.rest.is_empty() {
                return Ok(());
            }
            let name = self.token()?;
            let blanks = self.skip(b" \t");
            match (self.rest.first(), found.last_mut()) {
                (Some(b'='), Some(last)) => {
                    self.rest = &self.rest[1..];
                    self.skip(b" \t");
                    let value = self.value()?;
                    if last.parameters.iter().any(|(known, _)| *known == name) {
                        return Err(ChallengeError::Duplicate(name));
                    }
                    last.parameters.push((name, value));
                    self.skip(b" \t");
                    if !matches!(self.rest.first(), None | Some(b',')) {
                        return Err(ChallengeError::Malformed);
                    }
                }
                (Some(b'='), None) => return Err(ChallengeError::Malformed),
                (Some(b',') | None, _) => found.push(Raw { scheme: name, parameters: Vec::new() }),
                (Some(_), _) if blanks => {
                    found.push(Raw { scheme: name, parameters: Vec::new() });
                    self.token68();
                }
                (Some(_), _) => return Err(ChallengeError::Malformed),
            }
        }
    }

    /// Skips the credentials-like value that some schemes have in place of parameters (`Negotiate abc==`).
    fn token68(&mut self) {
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
        let length = self.rest.iter().take_while(|byte| word(byte)).count();
        let padding = self.rest[length..].iter().take_while(|byte| **byte == b'=').count();
        let after = &self.rest[length + padding..];
        let ends = after.iter().find(|byte| !b" \t".contains(byte)).is_none_or(|byte| *byte == b',');
        if ends {
            self.rest = after;
        }
    }

    fn skip(&mut self, bytes: &[u8]) -> bool {
        let length = self.rest.iter().take_while(|byte| bytes.contains(byte)).count();
        self.rest = &self.rest[length..];
        length > 0
    }

    fn token(&mut self) -> Result<String, ChallengeError> {
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let length = self.rest.iter().take_while(|byte| word(byte)).count();
        if length == 0 {
            return Err(ChallengeError::Malformed);
        }
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(String::from_utf8_lossy(token).to_ascii_lowercase())
    }

    fn value(&mut self) -> Result<String, ChallengeError> {
        if self.rest.first() != Some(&b'"') {
            let word = |byte: &u8| !b" \t,\"".contains(byte);
            let length = self.rest.iter().take_while(|byte| word(byte)).count();
            let (value, rest) = self.rest.split_at(length);
            self.rest = rest;
            return Ok(String::from_utf8_lossy(value).into_owned());
        }
        let mut value = String::new();
        let mut bytes = self.rest[1..].iter().enumerate();
        while let Some((index, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.rest = &self.rest[index + 2..];
                    return Ok(value);
                }
                b'\\' => match bytes.next() {
                    Some((_, escaped)) => value.push(char::from(*escaped)),
                    None => return Err(ChallengeError::Malformed),
                },
                byte => value.push(char::from(*byte)),
            }
        }
        Err(ChallengeError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Challenge, ChallengeError> {
        parse([text.as_bytes()])
    }

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.into(), scope: scope.into() }
    }

    #[test]
    fn the_usual_challenges_are_read() {
        let text = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            parsed(text),
            Ok(bearer("https://auth.docker.io/token", "registry.docker.io", "repository:a/b:pull,push"))
        );
        assert_eq!(parsed(r#"Basic realm="x""#), Ok(Challenge::Basic));
        assert_eq!(parsed("basic"), Ok(Challenge::Basic));
        assert_eq!(parsed("bearer REALM=https://a/t , service = b"), Ok(bearer("https://a/t", "b", "")));
    }

    #[test]
    fn bearer_is_chosen_where_several_are_offered() {
        assert_eq!(parsed(r#"Basic realm="x", Bearer realm="https://a/t""#), Ok(bearer("https://a/t", "", "")));
        assert_eq!(parsed(r#"Negotiate abc==, Bearer realm="https://a/t""#), Ok(bearer("https://a/t", "", "")));
        let two: [&[u8]; 2] = [b"Negotiate", b"Bearer realm=\"https://a/t\""];
        assert_eq!(parse(two), Ok(bearer("https://a/t", "", "")));
        assert_eq!(parsed("Digest realm=x, nonce=\"a, b\""), Err(ChallengeError::Unknown));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(parse([]), Err(ChallengeError::Missing));
        assert_eq!(parsed("Bearer"), Err(ChallengeError::NoRealm));
        assert_eq!(parsed(r#"Bearer realm="""#), Err(ChallengeError::NoRealm));
        let twice = r#"Bearer realm="https://a/t",Realm="https://evil/t""#;
        assert_eq!(parsed(twice), Err(ChallengeError::Duplicate("realm".into())));
        for text in
            ["=", "realm=x", "Bearer realm=\"x", "Bearer realm=\"x\\", "Bearer realm=\"x\"y", "Bearer\u{7f}", "a\nb"]
        {
            assert_eq!(parsed(text), Err(ChallengeError::Malformed), "{text:?}");
        }
        assert_eq!(parsed(&"a,".repeat(limits::CHALLENGE_BYTES_MAX)), Err(ChallengeError::Malformed));
    }
}
