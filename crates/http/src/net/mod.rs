//! From a host's name to a connection, without the C library's resolver and without a wait that nothing can end.

mod connect;
mod dns;

pub(crate) use connect::Tcp;
pub(crate) use dns::{ResolveError, Resolver};
