//! Every number that bounds what a step may make its proxy do.

use std::time::Duration;

/// Longest head of a request, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Most headers of a request.
pub const HEADERS_MAX: usize = 128;

/// Longest line that says how long a chunk of a body is, in bytes.
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// Connections of one step that are served at the same time. Further ones wait until one of these ends.
pub const CONNECTIONS_MAX: usize = 128;

/// Requests of one step. Each is in its record.
pub const EXCHANGES_MAX: usize = 20_000;

/// Servers that one step reaches. For each there is a keeper of connections.
pub const ORIGINS_MAX: usize = 512;

/// Hosts for which a certificate is kept; when there are more, all are made anew.
pub const CERTIFICATES_MAX: usize = 512;

/// Time in which a client must send the next byte of a head, or of a handshake.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Time in which a client must take or send the next byte of a body.
pub const BODY_TIMEOUT: Duration = Duration::from_mins(5);

/// Time from the end of a request to the head of the server's answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_mins(5);
