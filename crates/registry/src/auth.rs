//! Requests to one repository, with whatever proof of identity the registry asks for.
//!
//! Reference: the token protocol of `distribution`; RFC 6749, section 6 (refresh tokens).

use std::sync::PoisonError;
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize;
use ureq::http::Method;

use crate::challenge::{self, Challenge};
use crate::client::Client;
use crate::config::credentials::{self, Credential};
use crate::config::registries::Place;
use crate::error::{HttpError, RegistryError};
use crate::failure::Failure;
use crate::limits;
use stave_http::Secret;
use stave_http::url::{self, Origin, Scheme, Url};
use stave_http::{Authorization, Patience, Payload, Reply, Request, Retry};

/// The token server that belongs to a registry of another name.
const KNOWN_PAIRS: &[(&str, &str)] = &[("registry-1.docker.io", "auth.docker.io")];

/// What token servers know stave as.
const CLIENT_ID: &str = "stave";

/// What a repository's requests carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    authorization: Authorization,
    /// When it ends, on the client's clock; never, if nothing said so.
    ends: Option<Duration>,
}

/// What grants are kept by: where, which repository, and whether for pushing.
pub(crate) type GrantKey = (Origin, String, bool);

/// A repository at one place.
#[derive(Clone)]
pub(crate) struct Repository<'c> {
    pub(crate) client: &'c Client,
    pub(crate) place: Place,
    pub(crate) origin: Origin,
    insecure: bool,
    push: bool,
    /// Other repositories of the registry that the same requests read from: a mount does.
    sources: Vec<String>,
    /// Credentials that are not those of the configuration: somebody logs in.
    given: Option<Credential>,
}

impl<'c> Repository<'c> {
    /// Finds out how to speak to `place`. Only where TLS may be missing, that takes a request.
    pub(crate) fn open(client: &'c Client, place: &Place, push: bool) -> Result<Self, Failure> {
        let insecure = |origin: &Origin| place.insecure || origin.is_loopback();
        let origin = client.origin(&place.host, place.insecure)?;
        Ok(Self {
            client,
            place: place.clone(),
            insecure: insecure(&origin),
            origin,
            push,
            sources: Vec::new(),
            given: None,
        })
    }

    /// The same repository for requests that also read from `sources`.
    pub(crate) fn reading_from(&self, sources: impl IntoIterator<Item = String>) -> Self {
        Self { sources: sources.into_iter().collect(), ..self.clone() }
    }

    /// The same place for somebody who shows these credentials.
    pub(crate) fn with_credential(&self, credential: &Credential) -> Self {
        Self { given: Some(credential.clone()), ..self.clone() }
    }

    pub(crate) fn url(&self, tail: &str) -> Url {
        Url::new(self.origin.clone(), &format!("/v2/{}/{tail}", self.place.repository))
    }

    /// Returns a new count of failures.
    pub(crate) fn patience(&self) -> Patience<'c> {
        self.client.patience()
    }

    /// The same for what a mirror may not have: the next one is asked rather than this one again.
    pub(crate) fn patience_to_find(&self) -> Patience<'c> {
        if self.place.mirror { self.patience().none() } else { self.patience() }
    }

    /// Sends the request with what proves who we are. A 401 is answered once; then it is [`RegistryError::Denied`].
    pub(crate) fn send(&self, request: Request<'_>) -> Result<Reply, Failure> {
        let Request { method, url, headers, mut payload, .. } = request;
        let insecure = if url.origin() == &self.origin {
            self.insecure
        } else {
            self.client.config.registries.is_insecure(&url.origin().authority())
        };
        let mut refused = false;
        loop {
            let grant = self.grant();
            let again = Request {
                method: method.clone(),
                url: url.clone(),
                headers: headers.clone(),
                authorization: grant.clone().map(|grant| grant.authorization),
                secrets: Vec::new(),
                payload: reborrowed(&mut payload),
                insecure,
            };
            let mut reply = self.client.http.send(again)?;
            let ours = reply.url.origin() == &self.origin;
            match reply.status {
                // Another host's refusal is no reason to tell anybody who we are.
                401 | 403 if !ours => return Err(self.client.http.status_failure(reply).into()),
                401 if !refused => {
                    self.authenticate(&reply, grant.as_ref())?;
                    refused = true;
                    if matches!(payload, Payload::Stream { .. } | Payload::Unsized(_)) {
                        // Part of the stream is gone; whoever has it must start again.
                        let failure = self.client.http.status_failure(reply);
                        return Err(stave_http::Failure { retry: Retry::After(Duration::ZERO), ..failure }.into());
                    }
                }
                401 | 403 => return Err(self.denied(self.client.http.message(&mut reply))?.into()),
                _ => return Ok(reply),
            }
        }
    }

    fn denied(&self, message: crate::error::ServerMessage) -> Result<RegistryError, RegistryError> {
        let with_credentials = self.credential()?.is_some();
        let (origin, repository) = (Box::new(self.origin.clone()), self.place.repository.clone());
        Ok(RegistryError::Denied { origin, repository, with_credentials, message })
    }

    fn credential(&self) -> Result<Option<Credential>, RegistryError> {
        if self.given.is_some() {
            return Ok(self.given.clone());
        }
        let Client { config, cancel, .. } = self.client;
        credentials::find(&config.environment, cancel, &self.place.host, &self.place.repository).map_err(|source| {
            match source {
                _ if cancel.is_cancelled() => HttpError::Cancelled.into(),
                source => RegistryError::Credentials { registry: self.place.host.clone(), source },
            }
        })
    }

    fn key(&self) -> GrantKey {
        (self.origin.clone(), self.place.repository.clone(), self.push)
    }

    /// Returns what is known to be accepted and has not ended.
    fn grant(&self) -> Option<Grant> {
        let grants = self.client.grants.lock().unwrap_or_else(PoisonError::into_inner);
        let grant = grants.get(&self.key())?;
        grant.ends.is_none_or(|ends| self.client.clock.now() < ends).then(|| grant.clone())
    }

    /// Gets what the registry asks for in `reply`, after it refused `refused`.
    fn authenticate(&self, reply: &Reply, refused: Option<&Grant>) -> Result<(), Failure> {
        // One thread asks; the others that were refused at the same time use what it gets.
        let _turn = self.client.authenticating.lock().unwrap_or_else(PoisonError::into_inner);
        if self.grant().is_some_and(|grant| Some(&grant) != refused) {
            return Ok(());
        }
        let challenge = self.challenge(reply)?;
        let credential = self.credential()?;
        let grant = match (challenge, credential) {
            (_, Some(Credential::Registry(token))) => self.bound(format!("Bearer {}", token.expose()), None),
            (Challenge::Basic, Some(Credential::Password { username, password })) => {
                self.bound(basic(&username, &password), None)
            }
            (Challenge::Basic, _) => return Err(self.denied(crate::error::ServerMessage::default())?.into()),
            (Challenge::Bearer { realm, service, scope }, credential) => {
                self.token(&realm, &service, &scope, credential.as_ref())?.0
            }
        };
        self.client.grants.lock().unwrap_or_else(PoisonError::into_inner).insert(self.key(), grant);
        Ok(())
    }

    fn bound(&self, value: String, ends: Option<Duration>) -> Grant {
        Grant { authorization: Authorization { origin: self.origin.clone(), value: Secret::new(value) }, ends }
    }

    /// Finds out what proves `credential` to the registry's root, and what to keep of it: an identity token, if the
    /// token server gives one in exchange.
    ///
    /// Errors: the registry refuses it.
    pub(crate) fn log_in(&self, credential: &Credential) -> Result<Credential, Failure> {
        let http = &self.client.http;
        let root = |authorization| {
            let mut request = Request::new(Method::GET, Url::new(self.origin.clone(), "/v2/"));
            (request.authorization, request.insecure) = (authorization, self.insecure);
            http.send(request)
        };
        let reply = root(None)?;
        match reply.status {
            // There is nobody to check it.
            200 => return Ok(credential.clone()),
            401 => {}
            _ => return Err(http.status_failure(reply).into()),
        }
        let (grant, keep) = match (self.challenge(&reply)?, credential) {
            (Challenge::Basic, Credential::Password { username, password }) => {
                (self.bound(basic(username, password), None), None)
            }
            (Challenge::Basic, Credential::Identity(token) | Credential::Registry(token)) => {
                (self.bound(format!("Bearer {}", token.expose()), None), None)
            }
            (Challenge::Bearer { realm, service, scope }, credential) => {
                let (grant, refresh) = self.token(&realm, &service, &scope, Some(credential))?;
                (grant, refresh.map(Credential::Identity))
            }
        };
        let mut reply = root(Some(grant.authorization))?;
        match reply.status {
            200 => Ok(keep.unwrap_or_else(|| credential.clone())),
            401 | 403 => Err(self.denied(http.message(&mut reply))?.into()),
            _ => Err(http.status_failure(reply).into()),
        }
    }

    fn challenge(&self, reply: &Reply) -> Result<Challenge, RegistryError> {
        let values = reply.headers.get_all("www-authenticate");
        challenge::parse(values.iter().map(ureq::http::HeaderValue::as_bytes))
            .map_err(|source| RegistryError::Challenge { origin: Box::new(self.origin.clone()), source })
    }

    /// Returns the token, and the one to ask for the next with, if the token server gave such.
    fn token(
        &self,
        realm: &str,
        service: &str,
        scope: &str,
        credential: Option<&Credential>,
    ) -> Result<(Grant, Option<Secret<String>>), Failure> {
        let url = self.realm(realm, credential.is_some())?;
        let mut patience = self.patience();
        let mut reply = loop {
            let request = self.token_request(&url, service, &self.scopes(scope), credential);
            let sent = match request {
                TokenRequest::Get(request) => self.client.http.send(request),
                TokenRequest::Form { url, insecure, form } => {
                    let mut request = Request::new(Method::POST, url);
                    request.headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
                    request.insecure = insecure;
                    request.payload = Payload::Bytes(form.expose().as_bytes());
                    self.client.http.send(request)
                }
            };
            let failure = match sent {
                Ok(reply) if reply.status == 200 => break reply,
                Ok(mut reply) if matches!(reply.status, 400 | 401 | 403) => {
                    return Err(self.denied(self.client.http.message(&mut reply))?.into());
                }
                Ok(reply) => Failure::from(self.client.http.status_failure(reply)),
                Err(failure) => failure.into(),
            };
            failure.wait(&mut patience)?;
        };
        let bytes = self.client.http.read_all("token", &mut reply, limits::TOKEN_BYTES_MAX)?;
        let bad = |reason| RegistryError::Token { url: Box::new(url.clone()), reason };
        let answer: TokenAnswer = serde_json::from_slice(&bytes).map_err(|_| bad("its answer is not valid"))?;
        let token = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty());
        let token = token.ok_or_else(|| bad("its answer has no token in it"))?;
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad("its answer has a token with characters that no token has").into());
        }
        // Used for nine tenths of its life, so that it does not end on the way.
        let lifetime = Duration::from_secs(answer.expires_in.unwrap_or(60).clamp(10, 24 * 3600)) * 9 / 10;
        let refresh = answer.refresh_token.filter(|token| !token.is_empty()).map(Secret::new);
        Ok((self.bound(format!("Bearer {token}"), Some(self.client.clock.now() + lifetime)), refresh))
    }

    /// Returns the scopes to ask a token for: what we need, and what the registry asked for if that is something else.
    fn scopes(&self, asked: &str) -> Vec<String> {
        let own = format!("repository:{}:", self.place.repository);
        let mut scopes = Vec::new();
        // Whoever logs in asks for nothing but to be known.
        if self.given.is_none() {
            scopes.push(format!("{own}{}", if self.push { "pull,push" } else { "pull" }));
        }
        let read = |source: &String| format!("repository:{source}:pull");
        scopes.extend(self.sources.iter().map(read));
        // A registry may ask for several at once, separated by blanks.
        for scope in asked.split(' ').filter(|scope| !scope.is_empty() && !scope.starts_with(&own)) {
            if !scopes.iter().any(|known| known == scope) {
                scopes.push(scope.to_owned());
            }
        }
        scopes
    }

    /// Decides whether the token server `realm` may be asked, and may see credentials.
    fn realm(&self, realm: &str, with_credentials: bool) -> Result<Url, RegistryError> {
        let refused =
            |realm: String, reason| RegistryError::Realm { origin: Box::new(self.origin.clone()), realm, reason };
        let url: Url = realm.parse().map_err(|_| refused("somewhere".to_owned(), "which is no valid address"))?;
        let other = url.origin();
        if self.origin.scheme == Scheme::Https && other.scheme == Scheme::Http {
            return Err(refused(url.to_string(), "which is not encrypted, unlike itself"));
        }
        let known = KNOWN_PAIRS.contains(&(self.origin.host.as_str(), other.host.as_str()));
        let trusted = known
            || other.host == self.origin.host
            // The registry itself is who it says, it is the one that the credentials are for, and nobody listens.
            || (self.origin.scheme == Scheme::Https && !self.insecure && other.scheme == Scheme::Https);
        if with_credentials && !trusted {
            let reason = "which is another host, and over this connection that may be anybody's word: the configured credentials are not sent there";
            return Err(refused(url.to_string(), reason));
        }
        Ok(url)
    }

    fn token_request(
        &self,
        url: &Url,
        service: &str,
        scopes: &[String],
        credential: Option<&Credential>,
    ) -> TokenRequest {
        let insecure = if url.origin().host == self.origin.host {
            self.insecure
        } else {
            self.client.config.registries.is_insecure(&url.origin().authority())
        };
        if let Some(Credential::Identity(token)) = credential {
            let mut form = format!("grant_type=refresh_token&client_id={CLIENT_ID}");
            let scopes = scopes.join(" ");
            for (name, value) in [("service", service), ("scope", &scopes), ("refresh_token", token.expose())] {
                form.push('&');
                form.push_str(name);
                form.push('=');
                url::encode_into(value, &mut form);
            }
            return TokenRequest::Form { url: url.clone(), insecure, form: Secret::new(form) };
        }
        let mut target = url.clone();
        if !service.is_empty() {
            target = target.with_query("service", service);
        }
        for scope in scopes {
            target = target.with_query("scope", scope);
        }
        let mut request = Request::new(Method::GET, target);
        if let Some(Credential::Password { username, password }) = credential {
            request.url = request.url.with_query("account", username);
            let value = Secret::new(basic(username, password));
            request.authorization = Some(Authorization { origin: url.origin().clone(), value });
            if self.given.is_some() {
                request.url = request.url.with_query("client_id", CLIENT_ID).with_query("offline_token", "true");
            }
        }
        request.insecure = insecure;
        TokenRequest::Get(request)
    }
}

enum TokenRequest {
    Get(Request<'static>),
    Form { url: Url, insecure: bool, form: Secret<String> },
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

fn basic(username: &str, password: &Secret<String>) -> String {
    let text = format!("{username}:{}", password.expose());
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}

fn reborrowed<'b>(payload: &'b mut Payload<'_>) -> Payload<'b> {
    match payload {
        Payload::None => Payload::None,
        Payload::Bytes(bytes) => Payload::Bytes(bytes),
        Payload::Stream { reader, size } => Payload::Stream { reader: &mut **reader, size: *size },
        Payload::Unsized(reader) => Payload::Unsized(&mut **reader),
    }
}
