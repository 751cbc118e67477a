//! A trace as OTLP's messages of Protocol Buffers.
//!
//! Reference: `opentelemetry/proto/{collector/trace,trace,resource,common}/v1` of opentelemetry-proto 1.5; "Encoding" of
//! the Protocol Buffers' documentation. Fields that have their default are left out.

use crate::json::{KIND_INTERNAL, STATUS_ERROR};
use crate::span::{Span, Trace, Value};

/// Returns an `ExportTraceServiceRequest`.
#[must_use]
pub fn protobuf(trace: &Trace) -> Vec<u8> {
    let mut resource = Message::default();
    for (name, text) in &trace.resource {
        resource.message(1, &attribute(name, &Value::Text(text.clone())));
    }
    let mut scope = Message::default();
    scope.text(1, "stave");
    scope.text(2, &trace.version);
    let mut scope_spans = Message::default();
    scope_spans.message(1, &scope);
    for span in &trace.spans {
        scope_spans.message(2, &self::span(trace, span));
    }
    let mut resource_spans = Message::default();
    resource_spans.message(1, &resource);
    resource_spans.message(2, &scope_spans);
    let mut request = Message::default();
    request.message(1, &resource_spans);
    request.0
}

fn span(trace: &Trace, span: &Span) -> Message {
    let mut message = Message::default();
    message.bytes(1, &trace.id);
    message.bytes(2, &span.id);
    message.text(3, &trace.state);
    if let Some(parent) = &span.parent {
        message.bytes(4, parent);
    }
    message.text(5, &span.name);
    message.number(6, KIND_INTERNAL.into());
    message.fixed(7, span.start);
    message.fixed(8, span.end);
    for (name, value) in &span.attributes {
        message.message(9, &attribute(name, value));
    }
    for id in &span.links {
        let mut link = Message::default();
        link.bytes(1, &trace.id);
        link.bytes(2, id);
        message.message(13, &link);
    }
    if let Some(failure) = &span.failure {
        let mut status = Message::default();
        status.text(2, failure);
        status.number(3, STATUS_ERROR.into());
        message.message(15, &status);
    }
    message
}

/// A `KeyValue`.
fn attribute(name: &str, value: &Value) -> Message {
    let mut message = Message::default();
    message.text(1, name);
    message.message(2, &any(value));
    message
}

/// An `AnyValue`: a member of a `oneof`, which is there also where it has its default.
fn any(value: &Value) -> Message {
    let mut message = Message::default();
    match value {
        Value::Text(text) => message.bytes(1, text.as_bytes()),
        Value::Truth(truth) => message.number(2, u64::from(*truth)),
        // Two's complement, as the encoding has it.
        Value::Number(number) => message.number(3, number.cast_unsigned()),
        Value::Texts(texts) => {
            let mut values = Message::default();
            for text in texts {
                values.message(1, &any(&Value::Text(text.clone())));
            }
            message.message(5, &values);
        }
    }
    message
}

/// The bytes of a message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push((number & 0x7f) as u8);
    }

    fn tag(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.tag(field, 0);
        self.varint(number);
    }

    fn fixed(&mut self, field: u64, number: u64) {
        self.tag(field, 1);
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.tag(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    /// A text; none, if it is empty.
    fn text(&mut self, field: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }
}
