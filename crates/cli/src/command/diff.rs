//! `diff`: in what two images differ, as text or as JSON; of one name, what that container has changed.

use serde_json::{Value, json};
use stave_engine::{Comparison, FieldDifference, FileChange, FileDifference, FileField, LayerDifference};

use super::{Context, changes, settled};
use crate::args::{DiffArgs, DiffFormat};
use crate::failure::Failure;
use crate::host::Processes;
use crate::output;
use crate::render::printable;

pub(super) fn diff(args: &DiffArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let Some(right) = &args.right else {
        if args.quiet || args.format != DiffFormat::Text {
            return Err(Failure::usage("`--quiet` and `--format` are for two images, and only one name is given"));
        }
        return changes::of_container(&args.left, context);
    };
    let host = context.host(Processes::Some)?;
    let display = context.display(true);
    let compared = host.engine.compare([&args.left, right], &|event| display.report(event));
    display.finish();
    // The code 1 says that the images differ.
    let comparison = settled(&host, compared.map_err(Failure::from)).map_err(Failure::not_an_answer)?;
    if !args.quiet {
        let names = [args.left.as_str(), right.as_str()];
        match args.format {
            DiffFormat::Text => output::text(&text(&comparison, names))?,
            DiffFormat::Json => output::text(&format!("{}\n", object(&comparison, names)))?,
        }
    }
    Ok(u8::from(!comparison.is_equal()))
}

/// Returns the differences for people; the first one comes first.
pub(crate) fn text(comparison: &Comparison, names: [&str; 2]) -> String {
    let [left, right] = comparison.ids;
    if comparison.is_equal() {
        return printable(&format!("{} and {} are the same image {left}", names[0], names[1])) + "\n";
    }
    let mut lines = vec![format!("{} {left} and {} {right} differ", names[0], names[1])];
    lines.extend(first(comparison).map(|first| format!("first: {first}")));
    if !comparison.fields.is_empty() {
        lines.push("configuration:".to_owned());
        lines.extend(comparison.fields.iter().map(|field| format!("  {}", field_line(field))));
    }
    for layer in &comparison.layers {
        lines.push(format!("{}:", layer_line(layer)));
        if layer.files.is_empty() {
            lines.push("  its files are the same; only the archive is written in another way".to_owned());
        }
        lines.extend(layer.files.iter().map(|file| format!("  {}", file_line(file))));
    }
    if !comparison.layers.is_empty() {
        lines.push(format!("files of the whole image that differ: {}", comparison.files.len()));
        lines.extend(comparison.files.iter().map(|file| format!("  {}", file_line(file))));
    }
    printable(&lines.join("\n")) + "\n"
}

/// Returns the place of the first difference: layers come before what is said about them.
pub(super) fn first(comparison: &Comparison) -> Option<String> {
    let file = comparison.layers.iter().find_map(|layer| Some((layer, layer.files.first()?)));
    match (file, comparison.fields.first(), comparison.layers.first()) {
        (Some((layer, file)), _, _) => Some(format!("{}, {}", layer_line(layer), file_line(file))),
        (None, Some(field), _) => Some(format!("configuration, {}", field_line(field))),
        (None, None, Some(layer)) => Some(layer_line(layer)),
        (None, None, None) => None,
    }
}

fn field_line(field: &FieldDifference) -> String {
    let [left, right] = field.values.each_ref().map(|value| shown(value.as_ref()));
    format!("{}: {left} | {right}", field.path)
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

fn layer_line(layer: &LayerDifference) -> String {
    let number = layer.index + 1;
    let by = match &layer.created_by {
        [Some(left), Some(right)] if left == right => format!(" ({})", one_line(left)),
        [Some(left), Some(right)] => format!(" ({} | {})", one_line(left), one_line(right)),
        [Some(one), None] | [None, Some(one)] => format!(" ({})", one_line(one)),
        [None, None] => String::new(),
    };
    match layer.diff_ids {
        [Some(_), None] => format!("layer {number}, of the first image only{by}"),
        [None, Some(_)] => format!("layer {number}, of the second image only{by}"),
        _ => format!("layer {number}{by}"),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn file_line(file: &FileDifference) -> String {
    let path = String::from_utf8_lossy(&file.path);
    let how = match &file.how {
        FileChange::Only { image, what } => {
            format!("only in the {} ({what})", if *image == 0 { "first" } else { "second" })
        }
        FileChange::Both(fields) => fields.iter().map(part).collect::<Vec<_>>().join(", "),
    };
    format!("/{path}: {how}")
}

fn part(field: &FileField) -> String {
    match field {
        FileField::Property(name, [left, right]) => format!("{name} {left} | {right}"),
        FileField::Content(offset) => format!("content from byte {offset}"),
    }
}

fn object(comparison: &Comparison, names: [&str; 2]) -> Value {
    let image = |index: usize| json!({ "name": names[index], "id": comparison.ids[index].to_string() });
    let layer = |layer: &LayerDifference| {
        json!({
            "index": layer.index,
            "diff_ids": layer.diff_ids.map(|id| id.map(|id| id.to_string())),
            "created_by": layer.created_by,
            "files": layer.files.iter().map(file_object).collect::<Vec<_>>(),
        })
    };
    let fields = comparison.fields.iter().map(|field| json!({ "path": field.path, "values": field.values }));
    json!({
        "equal": comparison.is_equal(),
        "images": [image(0), image(1)],
        "first": first(comparison),
        "config": fields.collect::<Vec<_>>(),
        "layers": comparison.layers.iter().map(layer).collect::<Vec<_>>(),
        "files": comparison.files.iter().map(file_object).collect::<Vec<_>>(),
    })
}

fn file_object(file: &FileDifference) -> Value {
    let path = format!("/{}", String::from_utf8_lossy(&file.path));
    match &file.how {
        FileChange::Only { image, what } => json!({ "path": path, "only": image, "what": what }),
        FileChange::Both(fields) => {
            let mut object = json!({ "path": path });
            for field in fields {
                match field {
                    FileField::Property(name, values) => object[*name] = json!(values),
                    FileField::Content(offset) => object["content"] = json!({ "offset": offset }),
                }
            }
            object
        }
    }
}
