//! An HTTP client for servers that are not trusted: turns requests into responses, or into an end within a known time.
//!
//! It knows no registry, no digest and no file but those of certificates and names; it knows no environment and no clock
//! but those that are given to it.
//!
//! Invariants:
//! 1. A credential is sent to the origin it is bound to and nowhere else, and is never printed.
//! 2. An encrypted connection is never continued in the clear.
//! 3. Every wait ends: by a limit of [`limits`], or because [`Cancel`] was told to end it.
//!
//! Read `url`, `environment`, `net`, `client`, `patience` in this order.

pub mod cancel;
pub mod certs;
mod client;
pub mod clock;
pub mod environment;
pub mod error;
pub mod limits;
mod message;
mod net;
mod patience;
mod proxy;
pub mod secret;
pub mod url;

pub use cancel::Cancel;
pub use client::{Authorization, Failure, Http, Payload, Reach, Reply, Request, Retry, Setup};
pub use clock::{Clock, SystemClock};
pub use environment::{Environment, read_optional};
pub use error::HttpError;
pub use limits::Limits;
pub use message::clean;
pub use patience::{Patience, Wait};
pub use secret::Secret;
pub use url::{Origin, Scheme, Url, UrlError};
