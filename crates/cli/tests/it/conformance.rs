//! The corpus of `conformance/`: every case against what was recorded and confirmed, and some of them against the peers
//! themselves. `cargo xtask conformance` asks the peers about all.

use stave_testkit::bench::stave_binary;
use stave_testkit::conformance::{Case, Expected, Outcome, Peer, Yard, of_peer, of_stave};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance");

/// What the peers are asked about in every run of the tests: one of each kind.
const SAMPLE: [&str; 12] = [
    "add",
    "arguments",
    "copy",
    "dest-symlinks",
    "ignore-stars",
    "links",
    "metadata",
    "onbuild",
    "resets",
    "run",
    "stages",
    "workdir",
];

/// Cases that are built at the same time.
const WORKERS: usize = 3;

/// Runs `judge` for each case that is laid out, and fails with everything that it found.
fn judge_all(yard: &Yard, cases: &[Case], judge: impl Fn(&Case) -> Vec<String> + Sync) {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    yard.lay_out(case);
                    let lines = judge(case).into_iter().map(|line| format!("{}: {line}", case.name));
                    found.lock().expect("no worker panics with it").extend(lines);
                }
            });
        }
    });
    let found = found.into_inner().expect("no worker panics with it");
    assert!(found.is_empty(), "{} differences\n{}", found.len(), found.join("\n"));
}

fn sample() -> Vec<Case> {
    let mut cases = Case::all(Path::new(CASES));
    cases.retain(|case| SAMPLE.contains(&case.name.as_str()));
    assert_eq!(cases.len(), SAMPLE.len(), "a case of the sample is gone");
    cases
}

#[test]
fn every_case_has_what_confirms_it() {
    for case in Case::all(Path::new(CASES)) {
        let confirmed =
            case.about.fails.is_some() || Expected::read(&case).is_some_and(|it| !it.confirmed_by.is_empty());
        assert!(confirmed || case.about.known_bug.is_some(), "{}: run `cargo xtask conformance --record`", case.name);
        assert!(
            !case.about.covers.is_empty() && !case.about.sentence.is_empty(),
            "{}: says nothing of itself",
            case.name
        );
    }
}

/// Judges every fourth case, from the one with the number `first`: all of them at once take long where much else runs.
fn judge_records(first: usize) {
    let Some(yard) = Yard::new(stave_binary()) else { return };
    let cases: Vec<Case> = Case::all(Path::new(CASES)).into_iter().skip(first).step_by(4).collect();
    judge_all(&yard, &cases, |case| {
        let found = of_stave(case, &yard.stave(case), Expected::read(case).as_ref(), &yard);
        match (&case.about.known_bug, found.is_empty()) {
            (None, _) => found,
            (Some(_), false) => Vec::new(),
            (Some(bug), true) => vec![format!("goes well now, and is recorded as a bug: {bug}")],
        }
    });
}

#[test]
fn one_quarter_of_the_cases_gives_what_was_recorded() {
    judge_records(0);
}

#[test]
fn a_second_quarter_of_the_cases_gives_what_was_recorded() {
    judge_records(1);
}

#[test]
fn a_third_quarter_of_the_cases_gives_what_was_recorded() {
    judge_records(2);
}

#[test]
fn the_last_quarter_of_the_cases_gives_what_was_recorded() {
    judge_records(3);
}

#[test]
fn stave_makes_the_images_that_buildkit_makes() {
    let Some(yard) = Yard::new(stave_binary()) else { return };
    let Some(dockerd) = yard.dockerd() else { return };
    judge_all(&yard, &sample(), |case| {
        let (ours, theirs) = (yard.stave(case), yard.buildkit(case, &dockerd));
        unexplained(case, Peer::BuildKit, &ours, &theirs)
    });
}

#[test]
fn stave_makes_the_trees_that_buildah_makes() {
    let Some(yard) = Yard::new(stave_binary()) else { return };
    if stave_testkit::needs::program("buildah").is_none() {
        return;
    }
    judge_all(&yard, &sample(), |case| {
        let theirs = yard.buildah(case).expect("it is installed");
        unexplained(case, Peer::Buildah, &yard.stave(case), &theirs)
    });
}

fn unexplained(case: &Case, peer: Peer, ours: &Outcome, theirs: &Outcome) -> Vec<String> {
    assert!(case.without(peer).is_none(), "{}: {peer:?} cannot be asked about it", case.name);
    of_peer(case, peer, ours, theirs).unexplained
}
