//! What the environment asks for: the variables `OTEL_*`, `TRACEPARENT`, `TRACESTATE`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use stave_http::{Secret, Url, UrlError};

/// How long a collector has where the environment does not say. A specification's exporter waits 10 s; a build ends
/// sooner.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The most that the environment can ask for.
const TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Characters of a value that a message repeats.
const SHOWN_CHARACTERS: usize = 60;

/// How a trace is written for a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `http/protobuf`.
    Protobuf,
    /// `http/json`.
    Json,
}

/// Where a trace goes, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The address that takes traces.
    pub endpoint: Url,
    /// In which form.
    pub protocol: Protocol,
    /// Headers of the user's, which may prove who sends.
    pub headers: Vec<(String, Secret<String>)>,
    /// How long the collector has.
    pub timeout: Duration,
    /// Whether the body is compressed.
    pub gzip: bool,
    /// The certificates to trust, instead of the system's.
    pub certificate: Option<PathBuf>,
    /// What the build is a part of.
    pub parent: Option<Parent>,
    /// What is said of the whole trace, `service.name` first.
    pub resource: Vec<(String, String)>,
}

/// The span that a build is a part of.
///
/// Reference: W3C Trace Context, section 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: [u8; 16],
    /// The span in it.
    pub span: [u8; 8],
    /// Whether whoever began the trace keeps it.
    pub sampled: bool,
    /// What the systems on the way have to say, `TRACESTATE`.
    pub state: String,
}

/// Why the environment's wish is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// It is known, and stave does not do it.
    #[error("`{variable}={value}` is not supported: {instead}")]
    Unsupported {
        /// The variable.
        variable: String,
        /// What it asks for.
        value: String,
        /// What stave does.
        instead: &'static str,
    },
    /// It is nothing of the kind.
    #[error("the variable `{variable}` is {expected}, not `{value}`")]
    Malformed {
        /// The variable.
        variable: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        value: String,
    },
    /// It may be a secret, so that it is not shown.
    #[error("the variable `{variable}` is a list of `NAME=VALUE`, with `,` between them, of what a header can be")]
    Headers {
        /// The variable.
        variable: String,
    },
    /// The address is none.
    #[error("the variable `{variable}` is no address of a collector")]
    Endpoint {
        /// The variable.
        variable: String,
        /// Why.
        source: UrlError,
    },
}

/// The variables of the environment, of which empty ones count as not set.
struct Variables<F>(F);

impl<F: Fn(&str) -> Option<OsString>> Variables<F> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().trim().to_owned())
    }

    /// The variable for traces, else the one for all signals: its name and value.
    fn of_traces(&self, name: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }
}

impl Settings {
    /// Returns what the variables ask for that `lookup` knows: nothing where none of them names a collector, or one of
    /// them says that there is to be no trace.
    ///
    /// # Errors
    /// If they ask for something that is not there, or that nobody understands.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, SettingsError> {
        let variables = Variables(lookup);
        let is_disabled = variables.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let named = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        if is_disabled || !named.iter().any(|name| variables.get(name).is_some()) || !exports(&variables)? {
            return Ok(None);
        }
        let parent = parent(&variables)?;
        if !samples(&variables, parent.as_ref())? {
            return Ok(None);
        }
        refuse_client_certificates(&variables)?;
        Ok(Some(Self {
            endpoint: endpoint(&variables)?,
            protocol: protocol(&variables)?,
            headers: headers(&variables)?,
            timeout: timeout(&variables)?,
            gzip: compresses(&variables)?,
            certificate: variables.of_traces("CERTIFICATE").map(|(_, path)| path.into()),
            parent,
            resource: resource(&variables)?,
        }))
    }
}

/// Returns what the variables say of a trace itself, wherever it goes and whether it goes anywhere: `service.name` first.
///
/// # Errors
/// If they are no list of names and values.
pub fn resource_from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Vec<(String, String)>, SettingsError> {
    resource(&Variables(lookup))
}

fn shown(value: &str) -> String {
    value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_CHARACTERS).collect()
}

fn unsupported(variable: impl Into<String>, value: &str, instead: &'static str) -> SettingsError {
    SettingsError::Unsupported { variable: variable.into(), value: shown(value), instead }
}

fn malformed(variable: impl Into<String>, value: &str, expected: &'static str) -> SettingsError {
    SettingsError::Malformed { variable: variable.into(), value: shown(value), expected }
}

/// Whether traces are wanted, and by OTLP.
fn exports<F: Fn(&str) -> Option<OsString>>(variables: &Variables<F>) -> Result<bool, SettingsError> {
    let name = "OTEL_TRACES_EXPORTER";
    match variables.get(name).as_deref() {
        None | Some("otlp") => Ok(true),
        Some("none") => Ok(false),
        Some(other) => Err(unsupported(name, other, "traces go to a collector by `otlp`, or nowhere by `none`")),
    }
}

/// Whether this trace is to be sent.
fn samples<F: Fn(&str) -> Option<OsString>>(
    variables: &Variables<F>,
    parent: Option<&Parent>,
) -> Result<bool, SettingsError> {
    let name = "OTEL_TRACES_SAMPLER";
    let of_parent = |otherwise| parent.map_or(otherwise, |parent| parent.sampled);
    match variables.get(name).as_deref() {
        None | Some("parentbased_always_on") => Ok(of_parent(true)),
        Some("parentbased_always_off") => Ok(of_parent(false)),
        Some("always_on") => Ok(true),
        Some("always_off") => Ok(false),
        Some(other) => {
            let instead = "it is `always_on`, `always_off`, `parentbased_always_on` or `parentbased_always_off`";
            Err(unsupported(name, other, instead))
        }
    }
}

fn refuse_client_certificates<F: Fn(&str) -> Option<OsString>>(variables: &Variables<F>) -> Result<(), SettingsError> {
    match ["CLIENT_KEY", "CLIENT_CERTIFICATE"].iter().find_map(|name| variables.of_traces(name)) {
        None => Ok(()),
        Some((name, path)) => Err(unsupported(name, &path, "stave proves who it is by `OTEL_EXPORTER_OTLP_HEADERS`")),
    }
}

/// The path of the signal is added to the address for all signals; the one for traces is taken as it is.
fn endpoint<F: Fn(&str) -> Option<OsString>>(variables: &Variables<F>) -> Result<Url, SettingsError> {
    let (variable, value) = variables.of_traces("ENDPOINT").unwrap_or_default();
    let is_whole = variable.contains("TRACES");
    let whole = if is_whole { value } else { format!("{}/v1/traces", value.trim_end_matches('/')) };
    whole.parse().map_err(|source| SettingsError::Endpoint { variable, source })
}

fn protocol<F: Fn(&str) -> Option<OsString>>(variables: &Variables<F>) -> Result<Protocol, SettingsError> {
    match variables.of_traces("PROTOCOL") {
        None => Ok(Protocol::Protobuf),
        Some((_, value)) if value == "http/protobuf" => Ok(Protocol::Protobuf),
        Some((_, value)) if value == "http/json" => Ok(Protocol::Json),
        Some((name, value)) => Err(unsupported(name, &value, "stave speaks `http/protobuf` and `http/json`")),
    }
}

fn compresses<F: Fn(&str) -> Option<OsString>>(variables: &Variables<F>) -> Result<bool, SettingsError> {
    match variables.of_traces("COMPRESSION") {
        None => Ok(false),
        Some((_, value)) if value == "none" => Ok(false),
        Some((_, value)) if value == "gzip" => Ok(true),
        Some((name, value)) => Err(unsupported(name, &value, "it is `gzip` or `none`")),
    }
}

fn timeout<F: Fn(&str) -> Option<OsString>>(variables: &Variables<F>) -> Result<Duration, SettingsError> {
    let Some((name, value)) = variables.of_traces("TIMEOUT") else { return Ok(TIMEOUT) };
    let millis: u64 = value.parse().map_err(|_| malformed(name, &value, "a number of milliseconds"))?;
    Ok(Duration::from_millis(millis).min(TIMEOUT_MAX))
}

fn headers<F: Fn(&str) -> Option<OsString>>(
    variables: &Variables<F>,
) -> Result<Vec<(String, Secret<String>)>, SettingsError> {
    let Some((variable, value)) = variables.of_traces("HEADERS") else { return Ok(Vec::new()) };
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let is_value = |value: &str| value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    let pairs = pairs(&value).filter(|pairs| pairs.iter().all(|(name, value)| is_name(name) && is_value(value)));
    let pairs = pairs.ok_or(SettingsError::Headers { variable })?;
    Ok(pairs.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
}

fn resource<F: Fn(&str) -> Option<OsString>>(variables: &Variables<F>) -> Result<Vec<(String, String)>, SettingsError> {
    let name = "OTEL_RESOURCE_ATTRIBUTES";
    let given = variables.get(name).unwrap_or_default();
    let mut given = pairs(&given).ok_or_else(|| malformed(name, &given, "a list of `NAME=VALUE`"))?;
    let place = given.iter().position(|(name, _)| name == "service.name");
    let of_list = place.map(|place| given.remove(place).1);
    let service = variables.get("OTEL_SERVICE_NAME").or(of_list).unwrap_or_else(|| "stave".to_owned());
    given.insert(0, ("service.name".to_owned(), service));
    Ok(given)
}

/// Reads `NAME=VALUE,...`, as baggage is written.
///
/// Reference: W3C Baggage, section 3.2; there are no properties here.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |text: &str| {
        let (name, value) = text.split_once('=')?;
        Some((name.trim().to_owned(), decoded(value.trim())?))
    };
    text.split(',').filter(|text| !text.trim().is_empty()).map(pair).collect()
}

/// The text that is percent-encoded.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.extend(hex::<1>(digits)?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// The bytes of so many pairs of hexadecimal digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn parent<F: Fn(&str) -> Option<OsString>>(variables: &Variables<F>) -> Result<Option<Parent>, SettingsError> {
    let Some(value) = variables.get("TRACEPARENT") else { return Ok(None) };
    let parent = read_parent(&value, variables.get("TRACESTATE").unwrap_or_default());
    parent.map(Some).ok_or_else(|| malformed("TRACEPARENT", &value, "`00-TRACE-SPAN-FLAGS` in hexadecimal digits"))
}

/// Later versions may have more behind what this one has.
fn read_parent(text: &str, state: String) -> Option<Parent> {
    let mut parts = text.split('-');
    let version = hex::<1>(parts.next()?)?[0];
    let (trace, span, flags) = (hex(parts.next()?)?, hex(parts.next()?)?, hex::<1>(parts.next()?)?[0]);
    let is_whole = version != 0xff && (version != 0 || parts.next().is_none());
    let is_there = trace != [0; 16] && span != [0; 8];
    (is_whole && is_there).then_some(Parent { trace, span, sampled: flags & 1 == 1, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4318");

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, SettingsError> {
        Settings::from_lookup(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    fn with(variables: &[(&str, &str)]) -> Settings {
        read(&[&[ENDPOINT], variables].concat()).expect("it is understood").expect("there is a collector")
    }

    fn mistake(variable: &str, value: &str) -> String {
        read(&[ENDPOINT, (variable, value)]).expect_err("it is not carried out").to_string()
    }

    #[test]
    fn what_a_trace_is_of_is_read_without_a_collector_and_beside_what_is_not_carried_out() {
        let read = |variables: &[(&str, &str)]| {
            resource_from_lookup(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            })
        };
        let entry = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(&[]), Ok(vec![entry("service.name", "stave")]));
        let variables = [
            ("OTEL_SERVICE_NAME", "ci"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ];
        assert_eq!(read(&variables), Ok(vec![entry("service.name", "ci"), entry("a", "b")]));
        let error = read(&[("OTEL_RESOURCE_ATTRIBUTES", "a")]).expect_err("it is no list").to_string();
        assert_eq!(error, "the variable `OTEL_RESOURCE_ATTRIBUTES` is a list of `NAME=VALUE`, not `a`");
    }

    #[test]
    fn without_a_collector_nothing_is_sent() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("TRACEPARENT", "nonsense")]), Ok(None));
        for off in [
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_TRACES_SAMPLER", "always_off"),
            ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
            ("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        ] {
            assert_eq!(read(&[ENDPOINT, off]), Ok(None), "{off:?}");
        }
    }

    #[test]
    fn the_address_of_traces_is_taken_as_it_is_and_the_general_one_gets_their_path() {
        assert_eq!(with(&[]).endpoint.full(), "http://collector.example:4318/v1/traces");
        let slash = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c.example/otlp/")]).expect("fine").expect("there");
        assert_eq!(slash.endpoint.full(), "https://c.example/otlp/v1/traces");
        let own = with(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t.example/in?a=b")]);
        assert_eq!(own.endpoint.full(), "https://t.example/in?a=b");
        assert_eq!((own.protocol, own.timeout, own.gzip), (Protocol::Protobuf, Duration::from_secs(1), false));
    }

    #[test]
    fn what_is_for_traces_counts_before_what_is_for_all() {
        let settings = with(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=x%20y%3D, authorization = Bearer%20z"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ]);
        let headers: Vec<_> =
            settings.headers.iter().map(|(name, value)| (name.as_str(), value.expose().as_str())).collect();
        assert_eq!(headers, [("api-key", "x y="), ("authorization", "Bearer z")]);
        assert_eq!((settings.protocol, settings.timeout, settings.gzip), (Protocol::Json, TIMEOUT_MAX, true));
        assert_eq!(settings.certificate, Some("/ca.pem".into()));
    }

    #[test]
    fn a_service_has_a_name() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(with(&[]).resource, [pair("service.name", "stave")]);
        let list = ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=ci,service.name=of%2Clist");
        let expected = [pair("service.name", "of,list"), pair("deployment.environment", "ci")];
        assert_eq!(with(&[list]).resource, expected);
        assert_eq!(with(&[list, ("OTEL_SERVICE_NAME", "own")]).resource[0], pair("service.name", "own"));
    }

    #[test]
    fn a_build_is_a_part_of_what_its_caller_does() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = with(&[("TRACEPARENT", given), ("TRACESTATE", "a=1")]).parent.expect("it is given");
        assert_eq!((parent.trace[0], parent.trace[15], parent.span[0]), (0x0a, 0x9c, 0xb7));
        assert_eq!((parent.sampled, parent.state.as_str()), (true, "a=1"));
        assert!(with(&[("TRACEPARENT", &given.replacen("00", "cc", 1)), ("TRACESTATE", "")]).parent.is_some());
        assert!(with(&[("TRACEPARENT", &(given.replacen("00", "cc", 1) + "-more"))]).parent.is_some());
        for wrong in [
            "x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            let said = mistake("TRACEPARENT", wrong);
            assert!(said.starts_with("the variable `TRACEPARENT` is `00-TRACE-SPAN-FLAGS`"), "{said}");
        }
    }

    #[test]
    fn what_is_not_carried_out_is_refused_by_its_name() {
        let table = [
            (
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "grpc",
                "`OTEL_EXPORTER_OTLP_PROTOCOL=grpc` is not supported: stave speaks `http/protobuf` and `http/json`",
            ),
            (
                "OTEL_TRACES_EXPORTER",
                "zipkin",
                "`OTEL_TRACES_EXPORTER=zipkin` is not supported: traces go to a collector by `otlp`, or nowhere by `none`",
            ),
            (
                "OTEL_TRACES_SAMPLER",
                "traceidratio",
                "`OTEL_TRACES_SAMPLER=traceidratio` is not supported: it is `always_on`, `always_off`, `parentbased_always_on` or `parentbased_always_off`",
            ),
            (
                "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                "/k",
                "`OTEL_EXPORTER_OTLP_CLIENT_KEY=/k` is not supported: stave proves who it is by `OTEL_EXPORTER_OTLP_HEADERS`",
            ),
            (
                "OTEL_EXPORTER_OTLP_COMPRESSION",
                "zstd",
                "`OTEL_EXPORTER_OTLP_COMPRESSION=zstd` is not supported: it is `gzip` or `none`",
            ),
            (
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                "1s\u{1b}",
                "the variable `OTEL_EXPORTER_OTLP_TIMEOUT` is a number of milliseconds, not `1s `",
            ),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "a",
                "the variable `OTEL_RESOURCE_ATTRIBUTES` is a list of `NAME=VALUE`, not `a`",
            ),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "a=%f",
                "the variable `OTEL_RESOURCE_ATTRIBUTES` is a list of `NAME=VALUE`, not `a=%f`",
            ),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "collector:4318",
                "the variable `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is no address of a collector",
            ),
        ];
        for (variable, value, expected) in table {
            assert_eq!(mistake(variable, value), expected);
        }
        for secret in ["hush", "a b=hush", "a=hush%0d%0aX: y", "=hush", "a=hush%zz"] {
            let said = mistake("OTEL_EXPORTER_OTLP_HEADERS", secret);
            assert!(said.contains("OTEL_EXPORTER_OTLP_HEADERS") && !said.contains("hush"), "{said}");
        }
    }
}
