//! What was asked of a build, as far as its readers are to know.

use serde::{Deserialize, Serialize};

/// What was asked of a build. It holds no secret: values of arguments whose names say that they are secrets are left out,
/// and so are the credentials of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestFacts {
    /// Version of the builder.
    pub version: String,
    /// The context: a path, an address, or `-` for a stream.
    pub context: String,
    /// The stage that was asked for by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The platforms, in the order in which they were asked for.
    pub platforms: Vec<String>,
    /// Names for the image.
    pub names: Vec<String>,
    /// Values for `ARG`s; none for a name that says that its value is a secret.
    pub build_args: Vec<(String, Option<String>)>,
    /// Whether results of earlier builds might not be used.
    pub no_cache: bool,
    /// When it began, in seconds since 1970.
    pub started: i64,
}
