//! The cache against no cache: a project is edited at random, and after each edit the build that may use the cache must
//! give the image that a build without it gives. Edits that no step can see must run nothing at all.
//!
//! The edits are a function of a seed. `STAVE_DIFFERENTIAL_SEQUENCES=2000` runs that many sequences instead of a few,
//! `STAVE_DIFFERENTIAL_SEED=17` begins with that one; a failure says which to begin with. The build without cache has a store
//! and a copy of the context of its own, so that nothing that is remembered of files or steps reaches it.

mod edits;
mod named;
mod project;
mod secrets;

use edits::EDITS;
use project::{Built, Project, build};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use stave_testkit::fixtures::with_busybox;
use stave_testkit::{Bench, LoopbackRegistry};

/// Sequences where the environment names no number, and edits in each.
const SEQUENCES: u64 = 24;
const EDITS_EACH: u64 = 8;
/// Sequences that share a store. What an earlier project left in it must not be taken for a later one's.
const SEQUENCES_IN_A_STORE: u64 = 25;

/// Numbers that look random and are a function of a seed.
pub(crate) struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Reference: Steele, Lea, Flood, "Fast splittable pseudorandom number generators": `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).expect("less than a usize")
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Two stores: one for builds with the cache, one for builds without.
struct Stage {
    cached: Bench,
    fresh: Bench,
    _registry: LoopbackRegistry,
}

impl Stage {
    fn new() -> Option<Self> {
        let (mut cached, registry) = with_busybox()?;
        let mut fresh = Bench::new().with_registry(&registry);
        for bench in [&mut cached, &mut fresh] {
            // Times of files are those of their edits, which is what the cache does not look at.
            bench.set("SOURCE_DATE_EPOCH", "1000");
        }
        Some(Self { cached, fresh, _registry: registry })
    }

    /// Builds the project as it is with the cache, and its copy without.
    fn both(&self, project: &Project) -> (Built, Built) {
        let cached = build(&self.cached, &project.build_args(), false);
        copy(&self.cached.work(), &self.fresh.work(), "mode,links,xattr");
        (cached, build(&self.fresh, &project.build_args(), true))
    }
}

/// Replaces what is in a directory by a copy of another; of the attributes, `preserve` are kept.
fn copy(from: &Path, to: &Path, preserve: &str) {
    project::clear(to);
    let mut command = Command::new("cp");
    command.args(["-r", "--no-dereference", &format!("--preserve={preserve}"), "--"]).arg(from.join(".")).arg(to);
    assert!(command.status().expect("cp").success(), "the context cannot be copied");
}

/// What was built, with the project as it was then, to go back to.
struct Before {
    project: Project,
    files: PathBuf,
    built: Built,
}

/// The states of one project, each with a copy of its files.
struct Past {
    dir: tempfile::TempDir,
    states: Vec<Before>,
}

impl Past {
    fn remember(&mut self, project: &Project, built: Built) {
        let files = self.dir.path().join(self.states.len().to_string());
        std::fs::create_dir(&files).expect("a new directory");
        copy(&project.dir, &files, "all");
        self.states.push(Before { project: project.clone(), files, built });
    }
}

/// How many edits there were, and how many of the builds after them gave an image.
struct Done {
    edits: u64,
    images: u64,
}

/// One sequence of edits. Answers with what was done, or with what went wrong.
fn sequence(stage: &Stage, seed: u64) -> Result<Done, String> {
    let mut random = Random::new(seed);
    let mut project = Project::make(&stage.cached.work(), &mut random);
    let mut past = Past { dir: tempfile::tempdir().expect("a directory"), states: Vec::new() };
    let mut story = format!("seed {seed}\n");
    let (first, fresh) = stage.both(&project);
    compare(&project, &first, &fresh).map_err(|why| format!("{story}{why}"))?;
    past.remember(&project, first);
    let (mut edits, mut images) = (0, 0);
    while edits < EDITS_EACH {
        let built = if random.below(8) == 0 {
            let to = random.below(past.states.len());
            writeln!(story, "{edits}: back to {to}").expect("memory");
            project = past.states[to].project.clone();
            go_back(stage, &past.states[to])
        } else {
            let (name, edit) = random.pick(EDITS);
            let Some(effect) = edit(&mut project, &mut random) else { continue };
            writeln!(story, "{edits}: {name}: {}", effect.what).expect("memory");
            let before = &past.states.last().expect("the first").built;
            after(stage, &project, (!effect.is_seen).then_some(before))
        };
        let built = built.map_err(|why| format!("{story}{why}"))?;
        edits += 1;
        images += u64::from(built.image.is_some());
        past.remember(&project, built);
    }
    Ok(Done { edits, images })
}

/// Builds an edited project. `same` is what the build before was, if no step can see the edit.
fn after(stage: &Stage, project: &Project, same: Option<&Built>) -> Result<Built, String> {
    let (cached, fresh) = stage.both(project);
    compare(project, &cached, &fresh)?;
    match same {
        Some(before) if before.image.is_some() && (cached.ran != 0 || cached.image != before.image) => {
            Err(format!("no step sees that, but {} ran: {before:?}, then {cached:?}", cached.ran))
        }
        _ => Ok(cached),
    }
}

/// Makes everything as it was, and builds what was built then: nothing runs.
fn go_back(stage: &Stage, to: &Before) -> Result<Built, String> {
    copy(&to.files, &to.project.dir, "all");
    let built = build(&stage.cached, &to.project.build_args(), false);
    if built.image == to.built.image && built.ran == 0 {
        return Ok(built);
    }
    Err(format!("what was built before is built otherwise: {:?}, then {built:?}", to.built))
}

fn compare(project: &Project, cached: &Built, fresh: &Built) -> Result<(), String> {
    if cached.image == fresh.image {
        return Ok(());
    }
    let tree = Command::new("find").arg(&project.dir).args(["-printf", "%P %y %m %s %i %l\\n"]).output().expect("find");
    let (tree, text) = (String::from_utf8_lossy(&tree.stdout).into_owned(), project.dockerfile());
    Err(format!(
        "the cache gives another image than a build without it\nwith: {cached:?}\nwithout: {fresh:?}\n\
         args: {:?}\n{text}\n{tree}",
        project.build_args()
    ))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// T96, T97: content, names, modes, links, attributes, arguments and texts count; times and what no step reads do not.
#[test]
fn after_any_edit_the_cache_gives_what_a_build_without_it_gives() {
    let first = number("STAVE_DIFFERENTIAL_SEED").unwrap_or(1);
    let count = number("STAVE_DIFFERENTIAL_SEQUENCES").unwrap_or(SEQUENCES);
    if Stage::new().is_none() {
        return;
    }
    let next = AtomicU64::new(0);
    let (edits, images) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed) * SEQUENCES_IN_A_STORE.min(count.div_ceil(2));
            let size = SEQUENCES_IN_A_STORE.min(count.div_ceil(2)).min(count.saturating_sub(block));
            if size == 0 {
                return Ok(());
            }
            let stage = Stage::new().expect("there was one");
            for seed in first + block..first + block + size {
                let done = sequence(&stage, seed).map_err(|why| {
                    let begin = first + block;
                    format!("STAVE_DIFFERENTIAL_SEED={begin} STAVE_DIFFERENTIAL_SEQUENCES={size}: {why}")
                })?;
                edits.fetch_add(done.edits, Ordering::Relaxed);
                images.fetch_add(done.images, Ordering::Relaxed);
            }
            eprintln!("no difference in the sequences {} to {}", first + block, first + block + size - 1);
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let outcomes: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    for outcome in outcomes {
        outcome.unwrap_or_else(|why| panic!("{why}"));
    }
    let (edits, images) = (edits.into_inner(), images.into_inner());
    eprintln!("{count} sequences, {edits} edits, {images} images");
    assert!(edits == count * EDITS_EACH && images * 2 > edits, "{images} images after {edits} edits");
}
