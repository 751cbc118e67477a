//! A page's text into what has to be done with it.

/// One thing of a page, in the order in which they stand there.
pub(super) enum Part {
    /// What readers see between fences.
    Block(Block),
    /// A file that they do not see.
    HiddenFile { path: String, content: String },
    /// A command that they do not see.
    Hidden { command: String, line: usize },
    /// What follows begins with nothing.
    NewScene,
}

impl Part {
    pub(super) fn block(&self) -> Option<&Block> {
        if let Self::Block(block) = self { Some(block) } else { None }
    }
}

/// An example.
#[derive(Default)]
pub(super) struct Block {
    pub(super) language: String,
    /// Of its fence, from 1.
    pub(super) line: usize,
    pub(super) lines: Vec<String>,
    pub(super) file: Option<String>,
    pub(super) is: Option<String>,
    pub(super) exit: i32,
    /// Whether its command has a terminal.
    pub(super) on_terminal: bool,
}

impl Block {
    pub(super) fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

/// Reads a page.
///
/// # Errors
/// A comment that speaks to the examples and that nobody understands, and a fence that is not closed.
pub(super) fn page(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut next = Block::default();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let mut block = std::mem::take(&mut next);
            language.clone_into(&mut block.language);
            block.line = number + 1;
            block.lines = until(&mut lines, "```").ok_or_else(|| format!("{}: an open fence", number + 1))?;
            parts.push(Part::Block(block));
        } else if let Some(path) = line.strip_prefix("<!-- hidden file: ") {
            let content = until(&mut lines, "-->").ok_or_else(|| format!("{}: an open comment", number + 1))?;
            let content = content.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            parts.push(Part::HiddenFile { path: path.to_owned(), content });
        } else if let Some(said) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")) {
            match said.split_once(": ") {
                Some(("file", path)) => next.file = Some(path.to_owned()),
                Some(("is", path)) => next.is = Some(path.to_owned()),
                Some(("exit", code)) => next.exit = code.parse().map_err(|_| format!("{}: no code", number + 1))?,
                Some(("not run", _)) => return Err(format!("{}: every example is run", number + 1)),
                Some(("hidden", command)) => {
                    parts.push(Part::Hidden { command: command.to_owned(), line: number + 1 });
                }
                _ if said == "new scene" => parts.push(Part::NewScene),
                _ if said == "terminal" => next.on_terminal = true,
                _ if ["Made from", "generated", "table", "end"].iter().any(|other| said.starts_with(other)) => {}
                _ => return Err(format!("{}: nobody understands `{said}`", number + 1)),
            }
        }
    }
    Ok(parts)
}

/// The lines up to `end`, which is taken, too.
fn until<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>, end: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for (_, line) in lines {
        if line == end {
            return Some(found);
        }
        found.push(line.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> String {
        page(text).err().expect("a mistake")
    }

    #[test]
    fn no_example_is_left_out() {
        assert_eq!(mistake("a\n<!-- not run: it is long -->\n```console\n$ x\n```\n"), "2: every example is run");
        assert_eq!(mistake("<!-- nut run: it is long -->\n"), "1: nobody understands `nut run: it is long`");
        assert_eq!(mistake("```console\n$ x\n"), "1: an open fence");
    }
}
