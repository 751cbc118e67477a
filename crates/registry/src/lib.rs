//! A client of OCI distribution registries: turns references into verified manifests and blobs, and images into
//! pushed ones.
//!
//! It does not know where blobs are kept, what is in them or who wants them; it knows no environment, no home and
//! no clock but those that are given to it, and how bytes travel is the business of `stave-http`.
//!
//! Invariants:
//! 1. Nothing is handed on whose digest and size were not checked.
//! 2. A credential is sent to the origin it is bound to and nowhere else, and is never printed.
//! 3. An encrypted connection is never continued in the clear: HTTP is spoken only to hosts on this machine and to
//!    those that the user called insecure.
//! 4. Every wait ends: by a limit of [`limits`], or because [`Cancel`] was told to end it.
//!
//! Read `config`, `challenge`, `auth`, `pull`, `blob`, `push`, `referrers` in this order.

mod auth;
mod blob;
pub mod challenge;
mod client;
pub mod config;
mod copy;
pub mod error;
mod failure;
pub mod limits;
mod login;
mod message;
mod pages;
mod parts;
mod pull;
mod push;
pub mod range;
mod referrers;
mod seen;
mod slots;

pub use client::{BlobSink, Client, FoundManifest, OpenBlob, PushImage, PushIndex, PushProgress, Resolved, Source};
pub use config::logins::Kept;
pub use config::{Config, ConfigError, Environment};
pub use error::RegistryError;
pub use limits::Limits;
pub use login::{LoggedIn, LoggedOut, registry_name};
pub use stave_http::Secret;
pub use stave_http::{Cancel, Clock, SystemClock};
