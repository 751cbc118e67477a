//! Requests to a service with whatever it wants of repetition: what objects, tables and caches of services have in common.

use std::sync::Arc;

use stave_http::{
    Cancel, Clock, Environment, Failure, Http, HttpError, Limits, Patience, Reply, Request, Setup, SystemClock, Wait,
};

use crate::error::CacheError;

/// Largest answer of a service that is no blob and no catalog, in bytes.
pub(crate) const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Makes one request.
pub(crate) type Send<'s> = &'s dyn Fn(Request<'_>) -> Sent;

/// What came of one request.
pub(crate) type Sent = Result<Reply, Failure>;

/// What a service is reached by.
pub(crate) struct Web {
    http: Http,
    limits: Limits,
    cancel: Cancel,
    clock: Arc<dyn Clock>,
}

impl Web {
    pub(crate) fn new(environment: Environment, limits: Limits, cancel: Cancel) -> Self {
        let http = Http::new(Setup::new(environment), limits.clone(), cancel.clone());
        Self { http, limits, cancel, clock: Arc::new(SystemClock::default()) }
    }

    /// Makes requests until one is answered with one of the statuses of `welcome`, as often as failures allow.
    ///
    /// Errors: another status; what the last attempt ran into, or what `attempt` could not prepare.
    pub(crate) fn send(
        &self,
        welcome: &[u16],
        attempt: &dyn Fn(Send<'_>) -> Result<Sent, CacheError>,
    ) -> Result<Reply, CacheError> {
        let mut patience = Patience::new(&self.limits, &self.cancel, &self.clock);
        loop {
            let failure = match attempt(&|request| self.http.send(request))? {
                Ok(reply) if welcome.contains(&reply.status) => return Ok(reply),
                Ok(reply) => self.http.status_failure(reply),
                Err(failure) => failure,
            };
            match patience.wait(failure.retry) {
                Wait::Again => {}
                Wait::GiveUp => return Err(failure.error.into()),
                Wait::Cancelled => return Err(HttpError::Cancelled.into()),
            }
        }
    }

    /// The same for a request without a stream in it.
    pub(crate) fn ask(&self, welcome: &[u16], request: &dyn Fn() -> Request<'static>) -> Result<Reply, CacheError> {
        self.send(welcome, &|send| Ok(send(request())))
    }

    /// Reads the whole body; more than `limit` bytes are an error.
    pub(crate) fn read_all(&self, reply: &mut Reply, limit: u64) -> Result<Vec<u8>, CacheError> {
        self.http.read_all("answer", reply, limit).map_err(|failure| failure.error.into())
    }
}
