//! What a step asked of the network, and who decides about it.

use stave_oci::BlobDigest;

/// One request, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The method: `GET`, `POST`; `CONNECT` where a connection came to nothing before there was a request.
    pub method: String,
    /// The whole address that was asked for, with its query and without credentials; for `CONNECT` host and port.
    pub url: String,
    /// What the judge said of it.
    pub judged: Judged,
    /// What came of it.
    pub outcome: Outcome,
    /// What of the answer's body the client was given.
    pub content: Content,
}

/// What a [`Judge`] said of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Nothing: it was refused before.
    Unasked,
    /// That it is made as it is.
    AsItIs,
    /// That something else is done in its place.
    Instead(Verdict),
    /// That it is not made.
    Denied,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered with this status.
    Answered(u16),
    /// It was not made, and the client was told why.
    Refused(String),
    /// No answer came, and the client was told why.
    Failed(String),
    /// The step ended before there was an answer.
    Unfinished,
}

/// What the client was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing that is a file: no `GET`, or no status 200.
    Nothing,
    /// All of it.
    Whole {
        /// Of its bytes.
        digest: BlobDigest,
        /// How many.
        bytes: u64,
    },
    /// Not all of it, or nobody can say whether it was all.
    Cut,
}

/// What is done in place of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The address that is used.
    pub url: String,
    /// What its content has to be. Nothing of it is given to the client before that is known.
    pub checksum: Option<BlobDigest>,
}

/// Who decides about requests. Asked by several threads at once.
pub trait Judge: Send + Sync {
    /// Returns what is done in place of a request with this method for this address, which has no credentials.
    ///
    /// # Errors
    /// Why it is not made, in words for the client.
    fn judge(&self, method: &str, url: &str) -> Result<Verdict, String>;
}
