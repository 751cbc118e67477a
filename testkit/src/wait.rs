//! Turns a condition into a pause that ends when it holds, and a test into a failed one where it never does.

use std::time::{Duration, Instant};

/// Waits until `done`; fails if that takes a minute. `what` is the subject of the sentence that says so.
///
/// # Panics
/// After a minute.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < end, "{what} takes more than a minute");
        std::thread::sleep(Duration::from_millis(10));
    }
}
