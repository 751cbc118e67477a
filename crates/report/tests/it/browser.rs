//! The page in a real browser: Debian's Chromium, driven by Playwright, with the rules of axe.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a browser is a program that reads files")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use stave_history::Record;
use stave_history::event::StepId;
use stave_report::{Detail, Diagram, ImageLayers, LogExcerpt, Page, svg};
use stave_testkit::needs;

use crate::builds;

fn write(
    directory: &Path,
    name: &str,
    (record, logs): (&Record, &BTreeMap<StepId, LogExcerpt>),
    layers: &[ImageLayers],
) {
    let page = Page { record, started: "2026-11-30 13:00:00", logs, layers }.html();
    fs::write(directory.join(name), page).expect("a writable directory");
}

/// Has the browser look at all pages as `tests/browser/report.mjs` says for `subject`.
fn look(subject: &str) {
    let Some((browser, modules, node)) = needs::browser() else { return };
    let place = tempfile::tempdir().expect("a directory");
    let (three, its_logs) = builds::three();
    write(place.path(), "small.html", (&three, &its_logs), &[]);
    write(place.path(), "story.html", (&builds::built(), &builds::logs()), &builds::layers());
    write(place.path(), "failed.html", (&builds::failed(), &builds::failed_logs()), &[]);
    let (large, its_logs) = builds::two_thousand();
    write(place.path(), "large.html", (&large, &its_logs), &[]);
    let graph = svg(&Diagram::of_build(&builds::built(), Detail::Steps));
    fs::write(place.path().join("graph.svg"), graph).expect("a writable directory");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/report.mjs");
    let output = Command::new(node)
        .arg(script)
        .arg(subject)
        .args([browser.as_path(), modules.as_path(), place.path()])
        .output()
        .expect("node starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("ok: "), "{said}");
}

#[test]
fn every_view_of_a_small_build_is_opened_and_looked_at() {
    look("views");
}

#[test]
fn a_page_is_used_by_keyboard_heard_read_on_a_phone_and_in_the_dark() {
    look("access");
}

#[test]
fn a_build_of_two_thousand_steps_is_opened_searched_and_put_in_order() {
    look("large");
}
