//! `builds trace`: a build of the history as a trace of OpenTelemetry.

use stave_trace::{Settings, json, resource_from_lookup};

use super::{Context, find};
use crate::args::BuildsTraceArgs;
use crate::failure::Failure;
use crate::host::{Processes, raw_variable};
use crate::telemetry::{Sending, of_the_past};
use crate::{output, render};

/// Variables that speak of who calls now, and not of who called then.
const OF_THE_CALLER: [&str; 2] = ["TRACEPARENT", "TRACESTATE"];

pub(super) fn trace(args: &BuildsTraceArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let wrong = |error| Failure::usage(render::chain(&error));
    if !args.send {
        // Where it would go, and how, is nothing to a trace that is printed.
        let resource = resource_from_lookup(raw_variable).map_err(wrong)?;
        let host = context.host(Processes::None)?;
        let (_, record) = find(&host, args.build.as_deref())?;
        output::text(&(json(&of_the_past(&record, &resource)) + "\n"))?;
        return Ok(0);
    }
    let settings = Settings::from_lookup(|name| (!OF_THE_CALLER.contains(&name)).then(|| raw_variable(name)).flatten());
    let settings = settings.map_err(wrong)?;
    let host = context.host(Processes::None)?;
    let (_, record) = find(&host, args.build.as_deref())?;
    let settings = settings.ok_or_else(|| {
        Failure::usage("the environment names no collector, or says that no trace is to be sent").with_hint(
            "`OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318` names one; without `--send` the trace is printed.",
        )
    })?;
    let trace = of_the_past(&record, &settings.resource);
    let sent = Sending::start(trace, settings, host.signals.clone()).finish();
    sent.map_err(|error| Failure::environment(&error).within("the trace was not sent"))?;
    Ok(0)
}
