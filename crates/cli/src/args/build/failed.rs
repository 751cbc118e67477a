//! What a build does when a step fails: `--on-failure`, `--output-on-failure`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;

/// What happens after the last screen of a failed build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFailure {
    /// Nothing more.
    Exit,
    /// A shell in the state in which the step failed.
    Shell,
}

/// One `--output-on-failure`: whose files, which, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakeOutArg {
    pub(crate) stage: Option<String>,
    pub(crate) path: String,
    pub(crate) dest: PathBuf,
}

impl FromStr for TakeOutArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected `STAGE:/path=DEST`, or `:/path=DEST` for any stage".to_owned();
        let (stage, rest) = text.split_once(':').ok_or_else(expected)?;
        let (path, dest) = rest.split_once('=').ok_or_else(expected)?;
        if !path.starts_with('/') || dest.is_empty() {
            return Err(expected());
        }
        let stage = Some(stage.to_owned()).filter(|stage| !stage.is_empty());
        Ok(Self { stage, path: path.to_owned(), dest: dest.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_failed_step_have_a_stage_a_path_and_a_place() {
        let read = |text: &str| text.parse::<TakeOutArg>();
        let take = |stage: Option<&str>, path: &str, dest: &str| TakeOutArg {
            stage: stage.map(str::to_owned),
            path: path.to_owned(),
            dest: dest.into(),
        };
        assert_eq!(read("test:/reports=./out"), Ok(take(Some("test"), "/reports", "./out")));
        assert_eq!(read(":/a=b=c"), Ok(take(None, "/a", "b=c")));
        for wrong in ["/a=b", "test:a=b", "test:/a", "test:/a=", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
