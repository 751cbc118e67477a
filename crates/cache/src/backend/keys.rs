//! Keys for S3: those that were given, or those that a service of Amazon's gives out for a while.
//!
//! Reference: AWS SDKs and Tools, "Standardized credential providers": web identity, container and IMDS providers, in this
//! order. Files of profiles are not read.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stave_http::url::Url;
use stave_http::{Cancel, Environment, Limits, Request, Secret};
use ureq::http::Method;

use super::web::{ANSWER_BYTES_MAX, Web};
use crate::error::CacheError;

/// Where a task of ECS asks for its keys.
const CONTAINER_HOST: &str = "http://169.254.170.2";
/// Where a machine of EC2 asks about itself.
const INSTANCE_HOST: &str = "http://169.254.169.254";
/// Keys that end sooner are asked for anew, in seconds.
const SPARE_SECONDS: i64 = 300;
/// How long a machine's own service may take; it is near, if it is there.
const INSTANCE_WAIT: Duration = Duration::from_secs(2);
/// Largest token that is read from a file, in bytes.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// What signs requests.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The id of the key.
    pub id: String,
    /// The key.
    pub secret: Secret<String>,
    /// What else proves a key that is good for a while only.
    pub token: Option<Secret<String>>,
}

/// Where keys come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// The caller.
    Given(Keys),
    /// Whoever a token in a file says that one is may take a role.
    WebIdentity {
        /// The file with the token.
        token: PathBuf,
        /// The role.
        role: String,
        /// What the session is called.
        session: String,
        /// The service; the region's own if none is said.
        endpoint: Option<Url>,
    },
    /// The service that a container is told of.
    Container {
        /// Its address.
        url: Url,
        /// What proves who asks.
        authorization: Option<Secret<String>>,
        /// The file with it, where that can change.
        authorization_file: Option<PathBuf>,
    },
    /// The service of the machine itself.
    Instance {
        /// Its address, if it is not the usual one.
        endpoint: Option<Url>,
    },
}

/// Why the environment says of no service that gives out keys.
pub(crate) type Unusable = String;

impl KeySource {
    /// Returns what the environment says: an identity, a container, else the machine's own service.
    ///
    /// Errors: an address is none; the machine's service is not to be asked.
    pub(crate) fn of_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, Unusable> {
        let address = |name: &str| {
            let parse = |text: String| text.parse::<Url>().map_err(|error| format!("{name}={text}: {error}"));
            lookup(name).map(parse).transpose()
        };
        if let (Some(token), Some(role)) = (lookup("AWS_WEB_IDENTITY_TOKEN_FILE"), lookup("AWS_ROLE_ARN")) {
            let session = lookup("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "stave".to_owned());
            let endpoint = address("AWS_ENDPOINT_URL_STS")?;
            return Ok(Some(Self::WebIdentity { token: token.into(), role, session, endpoint }));
        }
        let relative = lookup("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let url = match relative.map(|path| format!("{CONTAINER_HOST}{path}").parse::<Url>()) {
            Some(url) => Some(url.map_err(|error| format!("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: {error}"))?),
            None => address("AWS_CONTAINER_CREDENTIALS_FULL_URI")?,
        };
        if let Some(url) = url {
            let authorization = lookup("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Secret::new);
            let authorization_file = lookup("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from);
            return Ok(Some(Self::Container { url, authorization, authorization_file }));
        }
        if lookup("AWS_EC2_METADATA_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        Ok(Some(Self::Instance { endpoint: address("AWS_EC2_METADATA_SERVICE_ENDPOINT")? }))
    }
}

/// Keys of a source, asked for when they are first needed and when they end.
pub(crate) struct KeyRing {
    source: KeySource,
    region: String,
    web: Web,
    clock: fn() -> Duration,
    /// The latest, and when they end, in seconds since 1970.
    latest: Mutex<Option<(Keys, i64)>>,
}

impl KeyRing {
    pub(crate) fn new(
        source: KeySource,
        region: String,
        clock: fn() -> Duration,
        (environment, limits, cancel): (&Environment, Limits, Cancel),
    ) -> Self {
        let web = match &source {
            // A machine's own service is behind no proxy.
            KeySource::Container { .. } | KeySource::Instance { .. } => {
                let limits = Limits { connect_timeout: INSTANCE_WAIT, connect_retries_max: 1, ..limits };
                Web::new(Environment::default(), limits, cancel)
            }
            KeySource::Given(_) | KeySource::WebIdentity { .. } => Web::new(environment.clone(), limits, cancel),
        };
        Self { source, region, web, clock, latest: Mutex::default() }
    }

    /// Returns keys that are good for now.
    ///
    /// Errors: the service gives none.
    pub(crate) fn keys(&self) -> Result<Keys, CacheError> {
        if let KeySource::Given(keys) = &self.source {
            return Ok(keys.clone());
        }
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((keys, end)) = &*latest
            && *end - SPARE_SECONDS > (self.clock)().as_secs().cast_signed()
        {
            return Ok(keys.clone());
        }
        let (keys, end) = self.ask()?;
        *latest = Some((keys.clone(), end));
        Ok(keys)
    }

    fn ask(&self) -> Result<(Keys, i64), CacheError> {
        match &self.source {
            KeySource::Given(keys) => Ok((keys.clone(), i64::MAX)),
            KeySource::WebIdentity { token, role, session, endpoint } => {
                let token = read(token)?;
                let own = || format!("https://sts.{}.amazonaws.com/", self.region).parse::<Url>();
                let endpoint = endpoint.clone().map_or_else(own, Ok).map_err(|error| unusable(&error.to_string()))?;
                let url = endpoint
                    .with_query("Action", "AssumeRoleWithWebIdentity")
                    .with_query("Version", "2011-06-15")
                    .with_query("RoleArn", role)
                    .with_query("RoleSessionName", session)
                    .with_query("WebIdentityToken", &token);
                of_xml(&self.get(&url, &[])?).ok_or_else(|| unusable("the answer for a web identity has no keys"))
            }
            KeySource::Container { url, authorization, authorization_file } => {
                let token = match authorization_file {
                    Some(file) => Some(read(file)?),
                    None => authorization.as_ref().map(|token| token.expose().clone()),
                };
                let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
                of_json(&self.get(url, &headers)?).ok_or_else(|| unusable("the answer for the container has no keys"))
            }
            KeySource::Instance { endpoint } => self.instance(endpoint.as_ref()),
        }
    }

    /// Asks the machine itself.
    ///
    /// Reference: Amazon EC2, "Use `IMDSv2`".
    fn instance(&self, endpoint: Option<&Url>) -> Result<(Keys, i64), CacheError> {
        let base = endpoint.map_or(INSTANCE_HOST.to_owned(), Url::full);
        let at = |path: &str| {
            let url = format!("{}/latest/{path}", base.trim_end_matches('/'));
            url.parse::<Url>().map_err(|error| unusable(&error.to_string()))
        };
        let (token, roles) = (at("api/token")?, at("meta-data/iam/security-credentials/")?);
        let mut reply = self.web.ask(&[200], &|| {
            let headers = vec![("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned())];
            Request { headers, ..Request::new(Method::PUT, token.clone()) }
        })?;
        let token = text(&self.web.read_all(&mut reply, ANSWER_BYTES_MAX)?);
        let headers = [("x-aws-ec2-metadata-token", token)];
        let role = self.get(&roles, &headers)?;
        let role = role.lines().next().unwrap_or_default().trim().to_owned();
        if role.is_empty() || role.contains('/') {
            return Err(unusable("this machine has no role"));
        }
        let keys = self.get(&at(&format!("meta-data/iam/security-credentials/{role}"))?, &headers)?;
        of_json(&keys).ok_or_else(|| unusable("the answer for this machine has no keys"))
    }

    fn get(&self, url: &Url, headers: &[(&'static str, String)]) -> Result<String, CacheError> {
        let mut reply = self
            .web
            .ask(&[200], &|| Request { headers: headers.to_vec(), ..Request::new(Method::GET, url.clone()) })?;
        Ok(text(&self.web.read_all(&mut reply, ANSWER_BYTES_MAX)?))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn unusable(reason: &str) -> CacheError {
    CacheError::Place { name: "keys for S3".to_owned(), reason: reason.to_owned() }
}

fn read(path: &PathBuf) -> Result<String, CacheError> {
    let failed = |source| CacheError::Io { action: "read", path: path.clone(), source };
    if fs::metadata(path).map_err(failed)?.len() > TOKEN_BYTES_MAX {
        return Err(unusable(&format!("`{}` is too long for a token", path.display())));
    }
    Ok(fs::read_to_string(path).map_err(failed)?.trim().to_owned())
}

/// Returns the keys in an answer of JSON, and when they end.
fn of_json(answer: &str) -> Option<(Keys, i64)> {
    let value: serde_json::Value = serde_json::from_str(answer).ok()?;
    let field = |name: &str| value[name].as_str().map(str::to_owned);
    let token = field("Token").filter(|token| !token.is_empty());
    let (id, secret) = (field("AccessKeyId")?, field("SecretAccessKey")?);
    Some((keys(id, secret, token), end(field("Expiration"))))
}

/// Returns the keys in an answer of XML, and when they end.
fn of_xml(answer: &str) -> Option<(Keys, i64)> {
    let field = |name: &str| {
        let (_, rest) = answer.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text.trim().to_owned())
    };
    let (id, secret) = (field("AccessKeyId")?, field("SecretAccessKey")?);
    Some((keys(id, secret, field("SessionToken")), end(field("Expiration"))))
}

fn keys(id: String, secret: String, token: Option<String>) -> Keys {
    Keys { id, secret: Secret::new(secret), token: token.map(Secret::new) }
}

/// Returns when keys end; those that do not say so are asked for again each time.
fn end(text: Option<String>) -> i64 {
    text.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map_or(0, jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_both_forms_have_keys_and_their_end() {
        let xml = "<R><Credentials><AccessKeyId>A</AccessKeyId>\n<SecretAccessKey>s/+=</SecretAccessKey>\
                   <SessionToken>t</SessionToken><Expiration>2026-01-02T03:04:05Z</Expiration></Credentials></R>";
        let json = r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"s/+=","Token":"t","Expiration":"2026-01-02T03:04:05Z"}"#;
        for (keys, end) in [of_xml(xml).expect("keys"), of_json(json).expect("keys")] {
            assert_eq!((keys.id.as_str(), keys.secret.expose().as_str(), end), ("A", "s/+=", 1_767_323_045));
            assert_eq!(keys.token.map(|token| token.expose().clone()), Some("t".to_owned()));
        }
        assert!(of_xml("<AccessKeyId>A").is_none() && of_json("{\"AccessKeyId\":\"A\"}").is_none());
        assert!(of_json("no JSON").is_none());
    }

    #[test]
    fn the_environment_says_whom_to_ask() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            KeySource::of_environment(&move |name| {
                pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            })
        };
        let identity = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "r")];
        assert!(matches!(of(&identity), Ok(Some(KeySource::WebIdentity { .. }))));
        let container = of(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")]);
        assert!(
            matches!(container, Ok(Some(KeySource::Container { url, .. })) if url.full() == "http://169.254.170.2/v2/x")
        );
        assert!(matches!(of(&[]), Ok(Some(KeySource::Instance { endpoint: None }))));
        assert!(matches!(of(&[("AWS_EC2_METADATA_DISABLED", "TRUE")]), Ok(None)));
        assert!(of(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "nothing")]).is_err());
    }
}
