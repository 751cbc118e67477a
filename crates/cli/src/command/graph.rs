//! `graph`: the stages or steps of a build, or the stages of a Dockerfile, as a picture.

use std::io::{Read as _, Write as _};
use std::path::Path;

use stave_dockerfile::FILE_BYTES_MAX;
use stave_dockerfile::plan::{PlanOptions, stage_sources};
use stave_engine::BuildFailure;
use stave_oci::Platform;
use stave_report::{Detail, Diagram, dot, mermaid, svg};

use super::transfer::NewFile;
use super::{Context, builds};
use crate::args::{GraphArgs, GraphFormat};
use crate::failure::Failure;
use crate::host::{Processes, raw_variable};
use crate::output;

/// Carries out `graph`.
pub(super) fn graph(args: &GraphArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let format = format(args)?;
    let diagram = if let Some(file) = &args.file {
        of_file(file, args)?
    } else {
        let host = context.host(Processes::None)?;
        let (_, record) = builds::find(&host, args.build.as_deref())?;
        Diagram::of_build(&record, if args.steps { Detail::Steps } else { Detail::Stages })
    };
    let text = match format {
        GraphFormat::Svg => svg(&diagram),
        GraphFormat::Dot => dot(&diagram),
        GraphFormat::Mermaid => mermaid(&diagram),
    };
    write(args.output.as_deref(), &text)?;
    Ok(0)
}

/// Writes a text where the user wants it.
pub(super) fn write(path: Option<&Path>, text: &str) -> Result<(), Failure> {
    let Some(path) = path.filter(|path| path.as_os_str() != "-") else { return output::text(text) };
    let mut file = NewFile::create(path)?;
    file.file.write_all(text.as_bytes()).map_err(|error| Failure::of_file("write", path, &error))?;
    file.keep()
}

fn format(args: &GraphArgs) -> Result<GraphFormat, Failure> {
    if let Some(format) = args.format {
        return Ok(format);
    }
    let Some(path) = args.output.as_ref().filter(|path| path.as_os_str() != "-") else {
        return Ok(GraphFormat::Mermaid);
    };
    match path.extension().and_then(|end| end.to_str()) {
        Some("svg") => Ok(GraphFormat::Svg),
        Some("dot" | "gv") => Ok(GraphFormat::Dot),
        Some("mmd" | "mermaid") => Ok(GraphFormat::Mermaid),
        _ => Err(Failure::usage(format!("the name `{}` does not say which format is meant", path.display()))
            .with_hint("Add `--format svg`, `--format dot` or `--format mermaid`.")),
    }
}

fn of_file(path: &Path, args: &GraphArgs) -> Result<Diagram, Failure> {
    let (name, text) = read(path)?;
    let parsed = stave_dockerfile::parse(&text);
    let mut options = PlanOptions::new(Platform::host());
    options.target.clone_from(&args.target);
    for arg in &args.build_args {
        // Without a value it is the environment's, as in `build`.
        let value = arg.value.clone().or_else(|| raw_variable(&arg.name)?.into_string().ok());
        options.build_args.extend(value.map(|value| (arg.name.clone(), value)));
    }
    let sources = if parsed.has_errors() { Err(Vec::new()) } else { stage_sources(&parsed.file, &options) };
    sources.map(|stages| Diagram::of_file(&stages)).map_err(|mistakes| {
        let diagnostics = parsed.diagnostics.into_iter().chain(mistakes).collect();
        Failure::from(BuildFailure::Dockerfile { name, text, diagnostics })
    })
}

/// Returns the name and the text of a Dockerfile.
fn read(path: &Path) -> Result<(String, String), Failure> {
    let name = path.display().to_string();
    let mut text = String::new();
    // One byte more than a file may have, so that the parser says that it is too large.
    let room = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let result = if path.as_os_str() == "-" {
        std::io::stdin().take(room).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(room).read_to_string(&mut text))
    };
    match result {
        Ok(_) => Ok((name, text)),
        Err(error) => Err(Failure::of_file("read", Path::new(&name), &error)),
    }
}
