//! Names of signals, as a person writes and reads them.

/// The names without `SIG`, in the order of their numbers, from 1.
///
/// Reference: Linux, `signal(7)`, "Signal numbering", the column of x86 and ARM.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// Returns the number of a signal: `9`, `KILL`, `SIGKILL`.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = NAMES.iter().position(|known| *known == name).and_then(|at| i32::try_from(at + 1).ok());
    number.or_else(|| text.parse().ok().filter(|number| (1..=64).contains(number)))
}

/// Returns the name of a signal: `SIGKILL`, or `signal 40` where it has none.
#[must_use]
pub fn signal_name(number: i32) -> String {
    let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    match place.and_then(|place| NAMES.get(place)) {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_names_numbers() {
        assert_eq!([9, 15, 40, 0, -1].map(signal_name), ["SIGKILL", "SIGTERM", "signal 40", "signal 0", "signal -1"]);
        assert_eq!(
            ["KILL", "sigterm", "40", "65", "0", "HUB"].map(signal_number),
            [Some(9), Some(15), Some(40), None, None, None]
        );
    }
}
