//! Turns the record of a build into a trace of OpenTelemetry: a span for the build, and one below it for each step and
//! each other thing that took time. What the variables `OTEL_*` ask for is read here, and sent over HTTP.
//!
//! It does not know engines, stores, terminals, clocks or threads: who calls it says when a build began and how long it
//! waits.
//!
//! Invariants:
//! 1. A trace says nothing that the record of the history does not say.
//! 2. The same record gives the same trace, with the same ids.
//! 3. The user's headers go to the origin of the endpoint and to no other, and are in no message.
//! 4. What of the variables is not carried out is refused by its name.
//!
//! Reference: OpenTelemetry specification 1.38 ("Environment Variable Specification", "OpenTelemetry Protocol Exporter"),
//! OTLP 1.5, W3C Trace Context level 1.
//!
//! Read `settings`, `span`, `json`, `protobuf`, `send` in this order.

mod json;
mod protobuf;
mod send;
mod settings;
mod span;

pub use json::json;
pub use protobuf::protobuf;
pub use send::{SendError, send};
pub use settings::{Parent, Protocol, Settings, SettingsError, resource_from_lookup};
pub use span::{Span, Trace, Value};
pub use stave_http::{Cancel, Environment};
