//! The description of the command line into manual pages: the same texts as `--help` prints, one page a command.
//!
//! It knows nothing of what the commands do. Names, options and headings come from clap; what stands below the options
//! in `--help` (examples, exit codes) keeps its lines.

use std::io::{self, Write as _};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// A page: its file's name and its bytes.
pub(crate) struct Page {
    pub(crate) file: String,
    pub(crate) text: Vec<u8>,
}

/// Returns the pages of a command and of all commands below it.
///
/// # Errors
/// None in practice: what is written goes to memory.
pub(crate) fn pages(command: Command) -> io::Result<Vec<Page>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, None, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, parent: Option<&str>, pages: &mut Vec<Page>) -> io::Result<()> {
    pages.push(page(command, parent)?);
    let mut inner = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    inner.try_for_each(|inner| collect(inner, Some(name(command)), pages))
}

/// `stave-build`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(command: &Command, parent: Option<&str>) -> io::Result<Page> {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    let shown = command.clone().override_usage(usage).subcommand_help_heading("COMMANDS");
    let man = Man::new(shown);
    // The time of a page would be another one with each build of the same sources.
    let mut text = format!(".TH {} 1 \"\" \"{}\" stave\n", name(command), crate::version_line()).into_bytes();
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.get_subcommands().any(|inner| !inner.is_hide_set()) {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(after) = command.get_after_help() {
        text.write_all(after_options(&after.to_string()).as_bytes())?;
    }
    if let Some(parent) = parent {
        let mut roff = Roff::new();
        roff.control("SH", ["SEE ALSO"]).text([bold(parent), roman("(1)")]);
        text.write_all(roff.to_roff().as_bytes())?;
    }
    Ok(Page { file: man.get_filename(), text })
}

/// What stands below the options: `Word:` alone begins a section, lines that begin with a space stay as they are, others are filled.
fn after_options(text: &str) -> String {
    let mut roff = Roff::new();
    let mut is_kept = false;
    let mut is_ended = false;
    if !text.starts_with("Example") {
        roff.control("SH", ["NOTES"]);
    }
    for line in text.lines() {
        let keep = line.starts_with(' ');
        if keep != is_kept {
            roff.control(if keep { "nf" } else { "fi" }, []);
            is_kept = keep;
        }
        match line.strip_suffix(':').filter(|heading| !heading.contains(' ')) {
            Some(heading) if !keep => drop(roff.control("SH", [heading.to_uppercase().as_str()])),
            _ if line.trim().is_empty() => drop(roff.control("PP", [])),
            _ => {
                // A sentence that begins on a line of its own stays there.
                if is_ended && !keep {
                    roff.control("br", []);
                }
                roff.text([roman(line.trim())]);
            }
        }
        is_ended = !keep && line.ends_with('.');
    }
    if is_kept {
        roff.control("fi", []);
    }
    roff.to_roff()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_lines_and_sentences_are_filled() {
        let text = after_options("Examples:\n  a   x\n  b\n\nA sentence\ngoes on.");
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.starts_with(".ie") && !line.starts_with(".el")).collect();
        assert_eq!(lines, [".SH EXAMPLES", ".nf", "a   x", "b", ".fi", ".PP", "A sentence", "goes on."]);
    }
}
