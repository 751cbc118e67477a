//! `inspect`.

use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{PrettyFormatter, Serializer};
use stave_engine::store::{ContainerError, ImageError};
use stave_engine::{Engine, EngineError};

use super::Context;
use crate::args::{InspectArgs, ObjectType};
use crate::failure::{self, Failure};
use crate::host::Processes;
use crate::output;
use crate::template::Template;

pub(super) fn inspect(args: &InspectArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let template = match args.format.as_deref() {
        None | Some("json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let host = context.host(Processes::None)?;
    let (mut found, mut code) = (Vec::new(), 0);
    for name in &args.names {
        if let Some(value) = find(&host.engine, name, args)? {
            found.push(value);
            continue;
        }
        let kind = match args.kind {
            Some(ObjectType::Image) => "image",
            Some(ObjectType::Container) => "container",
            None => "image or container",
        };
        crate::print_error(&Failure::failed(format!("no such {kind}: `{name}`")).render(context.style));
        code = failure::FAILED;
    }
    match (&template, args.format.is_some()) {
        (Some(template), _) => {
            let lines: Result<Vec<String>, _> = found.iter().map(|value| template.render(value)).collect();
            output::lines(&lines?)?;
        }
        (None, true) => output::lines(&found.iter().map(Value::to_string).collect::<Vec<_>>())?,
        (None, false) => output::text(&pretty(&Value::Array(found)))?,
    }
    Ok(code)
}

/// Looks for a container, then for an image.
fn find(engine: &Engine, name: &str, args: &InspectArgs) -> Result<Option<Value>, Failure> {
    let kind = args.kind;
    if kind != Some(ObjectType::Image) {
        match engine.inspect_container(name) {
            Err(EngineError::Container(ContainerError::NotFound(_))) => {}
            found => {
                let mut value = found?;
                if args.size {
                    let (own, all) = engine.container_sizes(name)?;
                    (value["SizeRw"], value["SizeRootFs"]) = (own.into(), all.into());
                }
                return Ok(Some(value));
            }
        }
    }
    if kind != Some(ObjectType::Container) {
        match engine.inspect_image(name, args.platform.as_ref()) {
            Err(EngineError::Image(ImageError::NotFound(_))) => {}
            found => return Ok(found.map(Some)?),
        }
    }
    Ok(None)
}

/// Returns JSON indented as Docker does it.
pub(super) fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    value.serialize(&mut serializer).expect("a value is serialized to memory");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON is text")
}
