//! The stable codes of the plan's diagnostics.

use crate::codes::Code;

macro_rules! codes {
    ($($name:ident = $code:literal: $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: &str = $code;)*

        /// All codes of the plan, in order.
        pub const ALL: &[Code] = &[$(Code { code: $code, meaning: $meaning }),*];
    };
}

codes! {
    UNKNOWN_TARGET = "D101": "The stage that should be built is not defined in the file.";
    STAGE_INDEX = "D102": "The file has fewer stages than a stage's number says.";
    USED_BEFORE_DEFINED = "D104": "A stage copies from a stage that is defined after it.";
    CYCLE = "D105": "Stages need each other, or a stage needs itself, so that none of them can be built first.";
    EMPTY_BASE = "D106": "The name of a base image is empty once its variables are expanded.";
    PLATFORM = "D107": "A platform is empty or is not written as `os/architecture`.";
    REFERENCE = "D108": "A base is neither the name of an earlier stage nor a valid image name.";
    TRIGGER = "D110": "An `ONBUILD` trigger of the base cannot be run.";
    PORT = "D111": "A port is not written as `port`, `first-last` or either with `/tcp`, `/udp` or `/sctp`.";
    SIGNAL = "D112": "A signal is neither a name nor a number that Linux knows.";
    USER = "D113": "A user is not written as `user`, `user:group`, or the same with numbers.";
    MODE = "D114": "Permissions are neither an octal number between 0 and 7777 nor symbolic as in chmod(1).";
    DIRECTORY_NEEDED = "D115": "Several sources can only be copied into a directory.";
    REMOTE_COPY = "D116": "`COPY` reads the build context, a stage or an image; only `ADD` reads what is on the network.";
    PATTERN = "D117": "A pattern with wildcards is malformed.";
    EMPTY = "D118": "A value that must say something is empty once its variables are expanded.";
    TOO_LARGE = "D121": "The stages are more, or their environments and history larger, than any real file makes them.";
    MOUNT = "D122": "A mount of `RUN` is not what its type needs, once its variables are expanded.";
    DEVICE = "D123": "A device is not written as `vendor.com/class=name`, with or without `,required`.";
    ADDRESS = "D124": "The address of a git repository cannot be used.";
    CHECKSUM = "D125": "A checksum cannot be used: it is malformed, or there is nothing that it could be of.";
    ARG_OVER_ENV = "D126": "An `ARG` has the name of an `ENV`: commands see the argument, the image keeps the environment.";
    POLICY = "D127": "A source policy denies a source, or makes of it what it cannot be.";
    NOT_LOCKED = "D128": "The build is to be made from the lock alone, and a source is not in it.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_unique() {
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(ALL.iter().all(|code| code.code.starts_with("D1") && code.meaning.ends_with('.')));
    }
}
