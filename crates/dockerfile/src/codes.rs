//! The stable codes of the parser's diagnostics. The plan's codes start at D101 and live beside it.
//!
//! A code is never given a second meaning. D012 is found by neither: only when a registry was asked for the image is it
//! known that a name means nothing.

/// A code and what it means, for the index in `docs/errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The code: `D001`.
    pub code: &'static str,
    /// What it means, in one sentence.
    pub meaning: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: &str = $code;)*

        /// All codes of the parser, in order.
        pub const TABLE: &[Code] = &[$(Code { code: $code, meaning: $meaning }),*];
    };
}

codes! {
    NO_INSTRUCTIONS = "D001", "The file has no instructions.";
    UNKNOWN_INSTRUCTION = "D002", "No instruction has this name.";
    BEFORE_FROM = "D003", "Only `ARG` may stand before the first `FROM`.";
    NO_STAGE = "D004", "The file has no `FROM`, so there is nothing to build.";
    LINE_TOO_LONG = "D005", "A line has more than 65,535 bytes.";
    BAD_ESCAPE_DIRECTIVE = "D006", "The escape character can only be a backslash or a backtick.";
    REPEATED_DIRECTIVE = "D007", "A parser directive was written twice.";
    BAD_CHECK_DIRECTIVE = "D008", "The `check` directive has an option that does not exist or a value that makes no sense.";
    FOREIGN_LANGUAGE = "D009", "The file is not a Dockerfile: it asks, in a notation of its own, for a frontend that stave does not have.";
    FRONTEND_NOT_RUN = "D010", "The `syntax` directive names a frontend that stave does not run; the file is read as a Dockerfile.";
    UNKNOWN_FLAG = "D011", "The instruction has no such flag.";
    UNKNOWN_STAGE = "D012", "No stage has this name, and an image of this name cannot be had either.";
    REPEATED_FLAG = "D013", "A flag that may be given once was given twice.";
    FLAG_WITHOUT_VALUE = "D014", "The flag needs a value.";
    NOT_A_SWITCH_VALUE = "D015", "The value of a switch is neither `true` nor `false`.";
    BAD_FLAG_VALUE = "D016", "The flag does not know this value.";
    MISSING_ARGUMENT = "D017", "The instruction needs something to follow it.";
    BAD_FROM = "D018", "`FROM` takes an image, and after it nothing or `AS` and a name.";
    BAD_STAGE_NAME = "D019", "A stage's name starts with a letter and goes on with letters, digits, `-`, `_` and `.`.";
    NOT_ONLY_STRINGS = "D020", "A JSON array holds something that is no string.";
    NOT_JSON = "D021", "The instruction takes a JSON array only.";
    NOT_A_PAIR = "D022", "A word of the form `name=value` is expected.";
    BLANK_NAME = "D023", "The name before `=` is empty.";
    NO_DESTINATION = "D024", "`COPY` and `ADD` need at least one source and a destination.";
    HEREDOC_AS_DESTINATION = "D025", "A heredoc cannot be the destination.";
    UNTERMINATED_HEREDOC = "D026", "The line that ends a heredoc is missing.";
    BAD_TRIGGER = "D027", "`ONBUILD`, `FROM` and `MAINTAINER` cannot be triggers.";
    BAD_HEALTHCHECK = "D028", "`HEALTHCHECK` is followed by `CMD` and a command, or by `NONE`.";
    HEALTHCHECK_NONE_ARGUMENTS = "D029", "`HEALTHCHECK NONE` takes no arguments, and its flags mean nothing.";
    BAD_DURATION = "D030", "A time is expected, such as `30s` or `1m30s`, and not less than a millisecond.";
    BAD_RETRIES = "D031", "A number that is not negative is expected.";
    EMPTY_VOLUME = "D032", "The path of a volume is empty.";
    UNKNOWN_MOUNT_OPTION = "D034", "Mounts have no such option.";
    BAD_MOUNT_VALUE = "D035", "The option of a mount lacks a value, or has one that it does not know.";
    BAD_MOUNT_SYNTAX = "D036", "The options of a mount are not a list separated by commas.";
    VARIABLE_IN_FROM = "D037", "Variables are not expanded in `--from` of `COPY` and in the option `from` of a mount.";
    MOUNT_OPTION_MISPLACED = "D038", "Mounts of this type do not have this option, or need another one.";
    BAD_SUBSTITUTION = "D039", "A `${...}` is malformed.";
    UNCLOSED_QUOTE = "D040", "A quote is opened and never closed.";
    REQUIRED_VARIABLE = "D041", "A variable that must have a value has none.";
    UNSUPPORTED_MODIFIER = "D042", "A `${...}` has a modifier that does not exist.";
    BAD_PATTERN = "D043", "The pattern in a `${...}` is malformed or too long.";
    EXPANSION_LIMIT = "D044", "A word is nested too deep, or becomes too long when it is expanded.";
    DIRECTIVE_AFTER_SHEBANG = "D045", "The `escape` directive has no effect after a `#!` line.";
    FILE_TOO_LARGE = "D046", "The file is larger than any Dockerfile.";
    NOT_UTF8 = "D047", "A byte of the file is not UTF-8, and is read as U+FFFD.";
    MOUNT_OPTION_WITHOUT_EFFECT = "D048", "The option of a mount asks for something that steps do not have, so it changes nothing.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(TABLE.iter().all(|code| code.meaning.ends_with('.')));
    }
}
