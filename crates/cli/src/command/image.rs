//! `tag`, `rmi`.

use stave_engine::{EngineError, Removed, store::ImageError};

use super::Context;
use crate::args::{RmiArgs, TagArgs};
use crate::failure::Failure;
use crate::host::Processes;
use crate::output;

pub(super) fn tag(args: &TagArgs, context: &Context<'_>) -> Result<u8, Failure> {
    if args.target.digest.is_some() {
        return Err(Failure::usage(format!("`{}` has a digest, which cannot be given to an image", args.target)));
    }
    context.host(Processes::None)?.engine.tag(&args.source, &args.target)?;
    Ok(0)
}

pub(super) fn remove(args: &RmiArgs, context: &Context<'_>) -> Result<u8, Failure> {
    let host = context.host(Processes::None)?;
    let (mut lines, mut code) = (Vec::new(), 0);
    for name in &args.images {
        match host.engine.remove_image(name, args.force) {
            Ok(removed) => {
                lines.extend(removed.into_iter().map(|one| match one {
                    Removed::Untagged(name) => format!("Untagged: {name}"),
                    Removed::Deleted(id) => format!("Deleted: {id}"),
                }));
            }
            Err(error) => {
                let missing = matches!(error, EngineError::Image(ImageError::NotFound(_)));
                let failure = Failure::from(error);
                crate::print_error(&failure.render(context.style));
                if !(missing && args.force) {
                    code = code.max(failure.code);
                }
            }
        }
    }
    output::lines(&lines)?;
    Ok(code)
}
