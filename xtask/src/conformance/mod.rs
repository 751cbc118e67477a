//! `cargo xtask conformance`: builds the corpus with stave and with the peers of this machine, compares, and writes
//! `docs/conformance.md`.

mod page;

use crate::binary;
use crate::failure::{At, Failure, Result};
use crate::packages;
use crate::place::Place;
use stave_testkit::conformance::{Case, Expected, Outcome, Peer, Saved, Verdict, Yard, of_peer, of_stave};
use stave_testkit::dockerd::Dockerd;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Builds that run at the same time.
const WORKERS: usize = 4;

/// What a case came to.
struct Row {
    case: Case,
    /// What is wrong with stave's own result.
    wrong: Vec<String>,
    /// The comparisons, by peer. Absent for a peer that lacks the feature or is not installed.
    verdicts: BTreeMap<Peer, Verdict>,
    /// What stave made, or how it began to say why it did not.
    made: std::result::Result<Box<Saved>, String>,
}

impl Row {
    /// What nobody explained, each with who it is about.
    fn problems(&self) -> Vec<String> {
        let of_peers = self.verdicts.iter().flat_map(|(peer, verdict)| {
            verdict.unexplained.iter().map(move |difference| format!("{}: {difference}", peer.key()))
        });
        self.wrong.iter().cloned().chain(of_peers).collect()
    }

    /// Who says that stave's image is the right one.
    fn confirmed_by(&self) -> Vec<String> {
        let peers = self.verdicts.keys().filter_map(|peer| Yard::version(*peer));
        let by_hand = self.case.has_expectations().then(|| "case.json".to_owned());
        peers.chain(by_hand).collect()
    }
}

/// Runs the cases that are named, or all of them. `--record` writes the records of cases that are confirmed.
pub(crate) fn command(place: &Place, args: &[String]) -> Result {
    let record = args.iter().any(|argument| argument == "--record");
    let named: Vec<&str> = args.iter().filter(|argument| !argument.starts_with("--")).map(String::as_str).collect();
    packages::ensure(packages::PEERS)?;
    let stave = binary::build(place, binary::Profile::Tested)?;
    let yard = Yard::new(stave).ok_or_else(|| Failure::new("the corpus needs root, git and a static busybox"))?;
    let dockerd = yard.dockerd();
    let root = place.root.join("conformance");
    let mut cases = Case::all(&root);
    let all = cases.len();
    cases.retain(|case| named.is_empty() || named.contains(&case.name.as_str()));
    let rows = run_all(&yard, dockerd.as_ref(), &cases, record);
    let mut problems = 0;
    for row in &rows {
        let found = row.problems();
        for problem in &found {
            println!("{}: {problem}", row.case.name);
        }
        let known = row.case.about.known_bug.is_some();
        if known && found.is_empty() {
            println!("{}: goes well now; its `known-bug` can go", row.case.name);
        }
        problems += if known { usize::from(found.is_empty()) } else { found.len() };
        if record && found.is_empty() {
            write_record(&yard, row)?;
        } else if record {
            println!("{}: is not recorded", row.case.name);
        }
    }
    print!("{}", page::summary(&rows));
    if rows.len() == all {
        let path = place.root.join("docs/conformance.md");
        fs::write(&path, page::page(&rows)).at("write", &path)?;
    }
    if problems == 0 { Ok(()) } else { Err(Failure::new(format!("{problems} differences without a reason"))) }
}

fn run_all(yard: &Yard, dockerd: Option<&Dockerd>, cases: &[Case], record: bool) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = run(yard, dockerd, case, record);
                    rows.lock().expect("no worker panics with it").push(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().expect("no worker panics with it");
    rows.sort_by(|left, right| left.case.name.cmp(&right.case.name));
    rows
}

fn run(yard: &Yard, dockerd: Option<&Dockerd>, case: &Case, record: bool) -> Row {
    yard.lay_out(case);
    let ours = yard.stave(case);
    let recorded = Expected::read(case).filter(|_| !record);
    let wrong = of_stave(case, &ours, recorded.as_ref(), yard);
    let mut verdicts = BTreeMap::new();
    for peer in Peer::ALL.into_iter().filter(|peer| case.without(*peer).is_none()) {
        let theirs = match peer {
            Peer::BuildKit => dockerd.map(|dockerd| yard.buildkit(case, dockerd)),
            Peer::Buildah => yard.buildah(case),
        };
        if let Some(theirs) = theirs {
            verdicts.insert(peer, of_peer(case, peer, &ours, &theirs));
        }
    }
    let made = match ours {
        Outcome::Failed(said) => Err(page::first_error(&said)),
        Outcome::Image(saved, _) => Ok(saved),
    };
    Row { case: case.clone(), wrong, verdicts, made }
}

/// Keeps what stave made as what is expected from now on. A peer or the case's own words have to have confirmed it.
fn write_record(yard: &Yard, row: &Row) -> Result {
    let Ok(saved) = &row.made else { return Ok(()) };
    let confirmed_by = row.confirmed_by();
    if confirmed_by.is_empty() {
        return Err(Failure::new(format!("{}: no peer builds it and `case.json` expects nothing", row.case.name)));
    }
    Expected::of(saved, yard.base(), confirmed_by).write(&row.case).at("write the record of", &row.case.dir)
}
