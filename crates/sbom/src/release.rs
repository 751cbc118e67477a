//! Reads which distribution an image says that it is.
//!
//! Reference: os-release(5).

use crate::package::clean;

/// The distribution of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Its identifier: `debian`, `alpine`. Empty if the image does not say.
    pub id: String,
    /// Its version: `12`, `3.20.1`.
    pub version: Option<String>,
    /// Its name for people.
    pub name: Option<String>,
}

impl Distribution {
    /// Reads an `os-release`. What is no assignment is skipped.
    pub(crate) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once('=') else { continue };
            let value = clean(unquoted(value.trim()));
            if value.is_empty() || value.len() > 200 {
                continue;
            }
            match key.trim() {
                "ID" => found.id = value.to_ascii_lowercase(),
                "VERSION_ID" => found.version = Some(value),
                "PRETTY_NAME" => found.name = Some(value),
                _ => {}
            }
        }
        found
    }

    /// Returns what the qualifier `distro` of a package URL says.
    pub(crate) fn qualifier(&self) -> Option<String> {
        if self.id.is_empty() {
            return None;
        }
        Some(self.version.as_ref().map_or_else(|| self.id.clone(), |version| format!("{}-{version}", self.id)))
    }
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_its_id_and_its_version() {
        let found = Distribution::parse("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n#x\nVERSION_ID='12'\n");
        assert_eq!(found.qualifier().as_deref(), Some("debian-12"));
        assert_eq!(found.name.as_deref(), Some("Debian GNU/Linux 12"));
        assert_eq!(Distribution::parse("nothing").qualifier(), None);
    }
}
