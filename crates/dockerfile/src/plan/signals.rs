//! The signals of Linux, by name.

use crate::suggest::nearest;

/// The largest signal number.
const SIGNAL_MAX: u32 = 64;

const NAMES: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// Whether `text` is a signal's name in any case, with or without `SIG`, or its number.
pub(super) fn is_signal(text: &str) -> bool {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().is_ok_and(|number: u32| (1..=SIGNAL_MAX).contains(&number));
    }
    let name = bare(text);
    NAMES.contains(&name.as_str()) || is_realtime(&name)
}

/// Returns the number that `text` is, if Linux has no such signal. An image may have it, as in BuildKit; but not 0.
pub(super) fn foreign(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number| *number != 0 && !(1..=i64::from(SIGNAL_MAX)).contains(number))
}

/// Returns the signal whose name is nearest.
pub(super) fn similar(text: &str) -> Option<String> {
    nearest(&bare(text), NAMES.iter().copied()).map(|name| format!("SIG{name}"))
}

fn bare(text: &str) -> String {
    let name = text.to_ascii_uppercase();
    name.strip_prefix("SIG").map_or_else(|| name.clone(), str::to_owned)
}

/// `RTMIN`, `RTMIN+15`, `RTMAX-14`: the C library keeps the two lowest real-time signals for itself.
fn is_realtime(name: &str) -> bool {
    let offset = |rest: &str, sign: char, max: u32| {
        rest.is_empty() || rest.strip_prefix(sign).is_some_and(|n| n.parse().is_ok_and(|n: u32| (1..=max).contains(&n)))
    };
    name.strip_prefix("RTMIN").is_some_and(|rest| offset(rest, '+', 15))
        || name.strip_prefix("RTMAX").is_some_and(|rest| offset(rest, '-', 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T171.
    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["SIGKILL", "KILL", "sigterm", "9", "64", "SIGRTMIN", "RTMIN+3", "SIGRTMAX-1"] {
            assert!(is_signal(text), "{text}");
        }
        for text in ["FOO", "0", "65", "", "SIG", "RTMIN+16", "RTMIN-1", "-9"] {
            assert!(!is_signal(text), "{text}");
        }
        assert_eq!(["999", "-9", "0", "9", "KILL"].map(foreign), [Some(999), Some(-9), None, None, None]);
        assert_eq!(similar("SIGTREM").as_deref(), Some("SIGTERM"));
        assert_eq!(similar("FOO"), None);
    }
}
