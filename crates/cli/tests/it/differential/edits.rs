//! The edits. Each says what it did, and whether a step can see it; nothing if the project has nothing to do it to.

#![expect(
    clippy::unnecessary_wraps,
    reason = "the edits of the table have one type, and some always have something to do"
)]

use super::Random;
use super::project::{DIRS, NAMES, Project, chmod, content, found};
use std::fs::{self, FileTimes};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What an edit did.
pub(super) struct Effect {
    pub(super) what: String,
    pub(super) is_seen: bool,
}

type Edit = fn(&mut Project, &mut Random) -> Option<Effect>;

/// All edits, by name.
pub(super) const EDITS: &[(&str, Edit)] = &[
    ("other content", write_content),
    ("other content of the same size and time", keep_size_and_time),
    ("another file of the same size and time in its place", replace_keeping_size_and_time),
    ("append", append),
    ("touch", touch),
    ("touch a directory", touch_directory),
    ("touch the Dockerfile", touch_dockerfile),
    ("chmod", change_mode),
    ("chmod of a directory", change_directory_mode),
    ("rename", rename),
    ("exchange two files", exchange),
    ("exchange two directories", exchange_directories),
    ("link elsewhere", relink),
    ("hard link", hard_link),
    ("own copy of a hard link", break_hard_link),
    ("attribute", set_attribute),
    ("remove", remove),
    ("add", add),
    ("make a directory", add_directory),
    ("another kind of file", change_kind),
    ("single file", write_single),
    ("single file of the same size and time", write_single_quietly),
    ("argument that is read", change_used),
    ("argument of the label", change_labelled),
    ("argument that nobody reads", change_unread),
    ("file that nobody reads", write_unread),
    ("ignored file", write_ignored),
    ("ignore file", change_ignore),
    ("exclude pattern", change_exclude),
    ("mode in the Dockerfile", change_chmod),
    ("heredoc of a file", change_inline),
    ("heredoc of a script", change_script),
    ("environment", change_env),
    ("comment", change_comment),
    ("target", change_target),
];

fn effect(what: impl Into<String>, is_seen: bool) -> Effect {
    Effect { what: what.into(), is_seen }
}

fn seen(what: impl Into<String>) -> Effect {
    effect(what, true)
}

fn unseen(what: impl Into<String>) -> Effect {
    effect(what, false)
}

fn some_file(project: &Project, random: &mut Random) -> Option<PathBuf> {
    let files = found(&project.dir, |kind| kind.is_file());
    (!files.is_empty()).then(|| random.pick(&files).clone())
}

fn some_directory(project: &Project, random: &mut Random) -> Option<PathBuf> {
    let path = project.dir.join("src").join(random.pick(&DIRS));
    fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()).then_some(path)
}

/// A name below `src` that nothing has yet.
fn free_name(project: &Project, random: &mut Random, names: &[&str]) -> Option<PathBuf> {
    let path = some_directory(project, random)?.join(random.pick(names));
    fs::symlink_metadata(&path).is_err().then_some(path)
}

fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    text.split_once("/work/").map_or_else(|| text.clone(), |(_, rest)| rest.to_owned())
}

/// Other letters, as many.
fn other_letters(old: &[u8]) -> Vec<u8> {
    old.iter().map(|byte| if *byte == b'z' { b'a' } else { byte.wrapping_add(1) }).collect()
}

fn set_modified(path: &Path, time: SystemTime) {
    let file = fs::File::open(path).expect("a file of the test");
    file.set_times(FileTimes::new().set_modified(time).set_accessed(time)).expect("a file of the test");
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|metadata| metadata.modified()).expect("a file of the test")
}

fn write_content(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = some_file(project, random)?;
    fs::write(&path, content(random)).expect("a file of the test");
    Some(seen(shown(&path)))
}

/// What a look at size and time cannot tell.
fn keep_size_and_time(project: &mut Project, random: &mut Random) -> Option<Effect> {
    some_file(project, random).map(|path| write_quietly(&path))
}

fn write_quietly(path: &Path) -> Effect {
    let (old, time) = (fs::read(path).expect("a file of the test"), modified(path));
    fs::write(path, other_letters(&old)).expect("a file of the test");
    set_modified(path, time);
    seen(shown(path))
}

fn replace_keeping_size_and_time(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = some_file(project, random)?;
    let (old, time) = (fs::read(&path).expect("a file of the test"), modified(&path));
    let mode = fs::metadata(&path).expect("a file of the test").permissions();
    let new = project.dir.join("src/new-file-for-a-rename");
    fs::write(&new, other_letters(&old)).expect("a writable directory");
    fs::set_permissions(&new, mode).expect("a file of the test");
    set_modified(&new, time);
    fs::rename(&new, &path).expect("a file of the test");
    Some(seen(shown(&path)))
}

fn append(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = some_file(project, random)?;
    let mut text = fs::read(&path).expect("a file of the test");
    text.push(b'+');
    fs::write(&path, text).expect("a file of the test");
    Some(seen(shown(&path)))
}

/// A time after the epoch of the builds, to which all are set back.
fn some_time(random: &mut Random) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(100_000 + random.next() % 2_000_000_000)
}

fn touch(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = some_file(project, random)?;
    set_modified(&path, some_time(random));
    Some(unseen(shown(&path)))
}

fn touch_directory(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = some_directory(project, random)?;
    set_modified(&path, some_time(random));
    Some(unseen(shown(&path)))
}

fn touch_dockerfile(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let time = some_time(random);
    for name in ["Dockerfile", ".dockerignore", "app.cfg"] {
        set_modified(&project.dir.join(name), time);
    }
    Some(unseen("Dockerfile, .dockerignore, app.cfg"))
}

fn change_mode(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = some_file(project, random)?;
    let mode = *random.pick(&[0o600, 0o644, 0o755, 0o4755, 0o2750, 0o400, 0o777]);
    chmod(&path, mode);
    Some(seen(format!("{} {mode:o}", shown(&path))))
}

fn change_directory_mode(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = some_directory(project, random)?;
    let mode = *random.pick(&[0o700, 0o755, 0o1777, 0o2755]);
    chmod(&path, mode);
    Some(seen(format!("{} {mode:o}", shown(&path))))
}

fn rename(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let (path, to) = (some_file(project, random)?, free_name(project, random, &NAMES)?);
    fs::rename(&path, &to).expect("a file of the test");
    Some(seen(format!("{} to {}", shown(&path), shown(&to))))
}

fn exchanged(one: &Path, other: &Path) -> Effect {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("both are there");
    seen(format!("{} and {}", shown(one), shown(other)))
}

fn exchange(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let (one, other) = (some_file(project, random)?, some_file(project, random)?);
    // Where names alone tell them apart, times do not.
    set_modified(&other, modified(&one));
    (one != other).then(|| exchanged(&one, &other))
}

fn exchange_directories(project: &mut Project, _random: &mut Random) -> Option<Effect> {
    let (one, other) = (project.dir.join("src/d"), project.dir.join("src/e"));
    (one.is_dir() && other.is_dir()).then(|| exchanged(&one, &other))
}

fn relink(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let links = found(&project.dir, |kind| kind.is_symlink());
    let path =
        if links.is_empty() { free_name(project, random, &["link", "l.txt"])? } else { random.pick(&links).clone() };
    if fs::symlink_metadata(&path).is_ok() {
        fs::remove_file(&path).expect("a link of the test");
    }
    let target = *random.pick(&["a", "b.txt", "../app.cfg", "/etc/passwd", "nowhere", "d", "d/../a"]);
    symlink(target, &path).expect("a writable directory");
    Some(seen(format!("{} to {target}", shown(&path))))
}

fn hard_link(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = some_file(project, random)?;
    let to = free_name(project, random, &["hard", "hard.txt", "hard.md"])?;
    fs::hard_link(&path, &to).expect("a file of the test");
    Some(seen(format!("{} of {}", shown(&to), shown(&path))))
}

fn break_hard_link(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let is_linked = |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.nlink() > 1);
    let linked: Vec<PathBuf> = found(&project.dir, |kind| kind.is_file()).into_iter().filter(is_linked).collect();
    if linked.is_empty() {
        return None;
    }
    let path = random.pick(&linked).clone();
    let copy = project.dir.join("src/new-file-for-a-rename");
    fs::copy(&path, &copy).expect("a file of the test");
    set_modified(&copy, modified(&path));
    fs::rename(&copy, &path).expect("a file of the test");
    Some(seen(shown(&path)))
}

fn set_attribute(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = some_file(project, random)?;
    let value = *random.pick(&["one", "two", ""]);
    let flags = rustix::fs::XattrFlags::empty();
    // Not every file system has them.
    rustix::fs::setxattr(&path, "user.stave-test", value.as_bytes(), flags).ok()?;
    Some(seen(format!("{} {value}", shown(&path))))
}

fn remove(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = some_file(project, random)?;
    fs::remove_file(&path).expect("a file of the test");
    Some(seen(shown(&path)))
}

fn add(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = free_name(project, random, &NAMES)?;
    fs::write(&path, content(random)).expect("a writable directory");
    Some(seen(shown(&path)))
}

fn add_directory(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = free_name(project, random, &["new", "new.txt", "f"])?;
    fs::create_dir(&path).expect("a writable directory");
    Some(seen(shown(&path)))
}

/// A file becomes a directory, a link or a pipe, and back.
fn change_kind(project: &mut Project, random: &mut Random) -> Option<Effect> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let all = found(&project.dir, |_| true);
    if all.is_empty() {
        return None;
    }
    let path = random.pick(&all).clone();
    if fs::symlink_metadata(&path).expect("just listed").is_dir() {
        fs::remove_dir_all(&path).expect("a directory of the test");
    } else {
        fs::remove_file(&path).expect("a file of the test");
    }
    match random.below(4) {
        0 => fs::write(&path, content(random)).expect("a writable directory"),
        1 => symlink("a", &path).expect("a writable directory"),
        2 => {
            fs::create_dir(&path).expect("a writable directory");
            fs::write(path.join("inside"), content(random)).expect("a writable directory");
        }
        _ => mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).expect("a writable directory"),
    }
    Some(seen(shown(&path)))
}

fn write_single(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = project.dir.join("app.cfg");
    fs::write(&path, content(random)).expect("a file of the test");
    if random.below(3) == 0 {
        chmod(&path, 0o600 | u32::try_from(random.below(64)).expect("a mode"));
    }
    Some(seen("app.cfg"))
}

fn write_single_quietly(project: &mut Project, _random: &mut Random) -> Option<Effect> {
    Some(write_quietly(&project.dir.join("app.cfg")))
}

fn word(random: &mut Random) -> String {
    format!("w{}", random.next() % 1000)
}

fn change_used(project: &mut Project, random: &mut Random) -> Option<Effect> {
    project.used = word(random);
    Some(seen(&project.used))
}

fn change_labelled(project: &mut Project, random: &mut Random) -> Option<Effect> {
    project.labelled = word(random);
    Some(seen(&project.labelled))
}

fn change_unread(project: &mut Project, random: &mut Random) -> Option<Effect> {
    project.unread = word(random);
    Some(unseen(&project.unread))
}

fn write_unread(project: &mut Project, random: &mut Random) -> Option<Effect> {
    fs::write(project.dir.join("notread.txt"), content(random)).expect("a file of the test");
    Some(effect("notread.txt", project.whole))
}

fn write_ignored(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let path = *random.pick(&["src/skip/a", "src/skip/b", "src/x.log", "src/d.log", "other.log"]);
    fs::write(project.dir.join(path), content(random)).expect("a file of the test");
    Some(effect(path, !project.ignores_logs_and_skipped()))
}

fn change_ignore(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let patterns = ["**/*.md", "!src/skip/a", "src/d", "*", "!src", "!app.cfg", "# comment", "**/*.log", "src/skip"];
    let place = random.below(project.ignore.len() + 1);
    if random.below(3) == 0 && place < project.ignore.len() {
        project.ignore.remove(place);
    } else {
        project.ignore.insert(place, (*random.pick(&patterns)).to_owned());
    }
    project.write();
    Some(seen(project.ignore.join(" ")))
}

fn change_exclude(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let patterns = ["*.md", "*.txt", "d", "**/a"];
    project.exclude = patterns[random.below(patterns.len())];
    project.write();
    Some(seen(project.exclude))
}

fn change_chmod(project: &mut Project, random: &mut Random) -> Option<Effect> {
    let modes = ["640", "755", "u=rwX,go=r", "a+x", "4755"];
    project.chmod = modes[random.below(modes.len())];
    project.write();
    Some(seen(project.chmod))
}

fn change_inline(project: &mut Project, random: &mut Random) -> Option<Effect> {
    project.inline = format!("line {}\n  $UNSET \"quoted\"", word(random));
    project.write();
    Some(seen(&project.inline))
}

fn change_script(project: &mut Project, random: &mut Random) -> Option<Effect> {
    project.script = format!("echo {} >> /used", word(random));
    project.write();
    Some(seen(&project.script))
}

fn change_env(project: &mut Project, random: &mut Random) -> Option<Effect> {
    project.env = word(random);
    project.write();
    Some(seen(&project.env))
}

fn change_comment(project: &mut Project, random: &mut Random) -> Option<Effect> {
    project.comment = word(random);
    project.write();
    Some(effect(&project.comment, project.whole))
}

fn change_target(project: &mut Project, _random: &mut Random) -> Option<Effect> {
    project.target = if project.target == "gen" { "final" } else { "gen" };
    Some(seen(project.target))
}
