//! What a client of the proxy gets, what a server sees of it, and what is recorded.

mod hostile;
mod passing;
mod support;
mod tls;
