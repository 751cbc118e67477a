//! Asks before something is removed that does not come back.

use std::io::BufRead as _;

use crate::failure::Failure;

/// Asks as docker does, after a warning that ends a line. Only `y` is yes: an end of the input, with or without a
/// terminal, is no.
pub(super) fn confirmed(warning: &str) -> Result<bool, Failure> {
    crate::print_error(&format!("{warning}Are you sure you want to continue? [y/N] "));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::environment(&error).within("cannot read standard input"))?;
    if !answer.ends_with('\n') {
        crate::print_error("\n");
    }
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
