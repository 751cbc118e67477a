//! A trace as OTLP's JSON.
//!
//! Reference: OTLP 1.5, "JSON Protobuf Encoding": names in `lowerCamelCase`, ids in hexadecimal digits, 64-bit numbers as
//! texts, members of enumerations as numbers.

use serde_json::{Value as Json, json};

use crate::span::{Span, Trace, Value};

/// `SPAN_KIND_INTERNAL`.
pub(crate) const KIND_INTERNAL: u8 = 1;

/// `STATUS_CODE_ERROR`.
pub(crate) const STATUS_ERROR: u8 = 2;

/// Returns an `ExportTraceServiceRequest` on one line, as collectors take it and as their files have it.
#[must_use]
pub fn json(trace: &Trace) -> String {
    let resource: Vec<Json> =
        trace.resource.iter().map(|(name, text)| attribute(name, &Value::Text(text.clone()))).collect();
    let spans: Vec<Json> = trace.spans.iter().map(|span| self::span(trace, span)).collect();
    let whole = json!({
        "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": { "name": "stave", "version": trace.version }, "spans": spans }],
        }],
    });
    whole.to_string()
}

fn span(trace: &Trace, span: &Span) -> Json {
    let attributes: Vec<Json> = span.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    let mut object = json!({ "traceId": hex(&trace.id), "spanId": hex(&span.id) });
    if !trace.state.is_empty() {
        object["traceState"] = json!(trace.state);
    }
    if let Some(parent) = &span.parent {
        object["parentSpanId"] = json!(hex(parent));
    }
    object["name"] = json!(span.name);
    object["kind"] = json!(KIND_INTERNAL);
    object["startTimeUnixNano"] = json!(span.start.to_string());
    object["endTimeUnixNano"] = json!(span.end.to_string());
    object["attributes"] = json!(attributes);
    if !span.links.is_empty() {
        let link = |link: &[u8; 8]| json!({ "traceId": hex(&trace.id), "spanId": hex(link) });
        object["links"] = span.links.iter().map(link).collect();
    }
    object["status"] = match &span.failure {
        Some(message) => json!({ "code": STATUS_ERROR, "message": message }),
        None => json!({}),
    };
    object
}

fn attribute(name: &str, value: &Value) -> Json {
    json!({ "key": name, "value": any(value) })
}

fn any(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Truth(truth) => json!({ "boolValue": truth }),
        Value::Texts(texts) => {
            let values: Vec<Json> = texts.iter().map(|text| json!({ "stringValue": text })).collect();
            json!({ "arrayValue": { "values": values } })
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}
