//! A1, A3, A4: archives that try to leave their root. Whatever becomes of them, the host's files do not change, and what
//! is not refused is inside.
//!
//! The cases follow published attacks on archive code; each names what it tries.

use std::path::Path;

use stave_tree::unpack::Refusal;
use stave_tree::{Dir, Follow, Limits, UnpackError, apply_layer, extract_archive, merged};

use crate::archive::tar;
use crate::support::{Scratch, assert_tree, fingerprint, format, is_root, make, show};

/// A root next to things that must not be touched, and the whole picture of those.
struct Arena {
    scratch: Scratch,
    root: Dir,
    before: Vec<String>,
}

impl Arena {
    fn new() -> Self {
        let scratch = Scratch::new();
        make(
            &scratch.path("x"),
            "victim/hello 644 = sentinel\nvictim/tool 4755 = sentinel\nvictim/empty =\nvictim/pipe pipe\nvictim/dir/ 700\nroot-evil/secret 600 = sentinel\nsecret 600 = sentinel",
        );
        let root = scratch.tree("x/root", "");
        let before = Self::picture(&scratch.path("x"));
        Self { scratch, root, before }
    }

    fn picture(path: &Path) -> Vec<String> {
        ["victim", "root-evil", "secret"].iter().flat_map(|name| fingerprint_without_pipes(&path.join(name))).collect()
    }

    /// Replaces `@` in a case by the host path of the arena.
    fn fill(&self, spec: &str) -> String {
        spec.replace('@', self.scratch.path("x").to_str().unwrap())
    }

    #[track_caller]
    fn assert_untouched(&self, what: &str) {
        assert_eq!(Self::picture(&self.scratch.path("x")), self.before, "{what}");
        let others: Vec<_> =
            std::fs::read_dir(self.scratch.path("x")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(others.len(), 4, "{what} made something: {others:?}");
        assert!(!inside(&self.root).contains("sentinel"), "{what} exposed a file");
    }
}

fn fingerprint_without_pipes(path: &Path) -> Vec<String> {
    if path.is_dir() {
        let mut names: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names.iter().flat_map(|path| fingerprint_without_pipes(path)).collect()
    } else {
        fingerprint(path)
    }
}

fn inside(root: &Dir) -> String {
    show(root)
}

const CASES: &[(&str, &str)] = &[
    ("parent in a path", "f ../victim/hello = pwn"),
    ("parents after a root", "f /../../victim/hello = pwn"),
    ("parent in the middle", "d a\nf a/../../victim/hello = pwn"),
    ("absolute path", "f @/victim/hello = pwn"),
    ("link and a file through it", "l a -> @/victim\nf a/hello = pwn"),
    ("relative link and a file through it", "l a -> ../victim\nf a/hello = pwn"),
    ("deep relative link", "l a -> ../../../../../../../../@/victim\nf a/hello = pwn"),
    ("link to a link", "l a -> b\nl b -> @/victim\nf a/hello = pwn\nf b/hello = pwn"),
    ("link through a directory link", "d d\nl d/up -> ..\nl d/up2 -> up/..\nf d/up2/victim/hello = pwn"),
    ("link and a directory through it", "l d -> @/victim\nd d/new"),
    ("link replaced by a directory with another mode", "l d -> @/victim/dir\nd d 777"),
    ("directory with a dot behind a link", "l d -> @/victim/dir\nd d/. 777"),
    ("mode of a file through a link", "l f -> @/victim/tool\nf f 777 = x"),
    ("hard link to the host", "h l == ../victim/hello\nf l = pwn"),
    ("hard link by absolute path", "h l == @/victim/hello\nf l = pwn"),
    ("hard link through a link", "l a -> @/victim\nh l == a/hello\nf l = pwn"),
    ("hard link to a link, then its mode", "l a -> @/victim/hello\nh b == a\nf b 777 = pwn"),
    ("hard link whose name begins like the root", "h l == ../root-evil/secret"),
    ("hard link to the root", "h l == /"),
    ("hard link to itself", "h l == l"),
    ("hard link to a directory", "d d\nh l == d"),
    ("hard link over a directory", "d d\nf f = x\nh d == f"),
    ("file over a link", "l f -> @/victim/hello\nf f = pwn"),
    (
        "directory replaced by a link on the way",
        "d foo\nd foo/tmp\nf foo/tmp/a = x\nl foo -> /\nf foo/tmp/breakout = pwn\nd foo",
    ),
    (
        "directory replaced by a link to the host",
        "d foo\nf foo/a = x\nl foo -> @/victim\nf foo/hello = pwn\nf foo/new = pwn",
    ),
    ("link replaced after use", "d v\nl a -> v\nf a/1 = x\nl a -> @/victim\nf a/hello = pwn"),
    ("root as a link", "l . -> @/victim\nf hello = pwn"),
    ("root as a link by slash", "l / -> @/victim\nf hello = pwn"),
    ("root as a link by dot slash", "l ./ -> @/victim\nf hello = pwn"),
    ("root as a file", "f . = pwn"),
    ("root as a hard link", "h . == ../victim/hello"),
    ("extended path", "x path=../victim/hello\nf ok = pwn"),
    ("extended link path", "x linkpath=../victim/hello\nh ok == fine\nf ok = pwn"),
    ("extended path through a link", "l a -> @/victim\nx path=a/hello\nf ok = pwn"),
    ("whiteout outside", "f ../victim/.wh.hello"),
    ("whiteout through a link", "l l -> @/victim\nf l/.wh.hello"),
    ("opaque through a link", "l l -> @/victim/dir\nf l/.wh..wh..opq"),
    ("whiteout of nothing", "f .wh."),
    ("whiteout of the directory", "f .wh.."),
    ("whiteout of the parent", "f .wh..."),
    ("whiteout of the parent below", "d d\nf d/.wh..."),
    ("below a whiteout", "f .wh.victim/hello = pwn"),
    ("attribute through a link", "l l -> @/victim/hello\nx SCHILY.xattr.user.evil=1\nf l = pwn"),
    ("redirect smuggled", "x SCHILY.xattr.trusted.overlay.redirect=/victim\nd d"),
    ("device through a link", "l l -> @/victim\nc l/null 1 3"),
    ("pipe through a link", "l l -> @/victim\np l/new"),
    ("loop", "l a -> b\nl b -> a\nf a/x = pwn"),
    ("itself", "l a -> a\nf a/x = pwn"),
    ("proc", "l a -> /proc/self/root\nf a/tmp/pwn-by-stave = pwn"),
    ("proc descriptors", "l a -> /proc/self/cwd\nf a/pwn-by-stave = pwn"),
];

#[test]
fn nothing_leaves_the_root() {
    if !is_root() {
        return;
    }
    for (what, spec) in CASES {
        let arena = Arena::new();
        let archive = tar(&arena.fill(spec));
        let applied = apply_layer(&archive[..], &arena.root, format(), &Limits::default());
        arena.assert_untouched(&format!("layer, {what}: {applied:?}"));
        let arena = Arena::new();
        let archive = tar(&arena.fill(spec));
        let extracted = extract_archive(&archive[..], &arena.root, None, &Limits::default());
        arena.assert_untouched(&format!("archive, {what}: {extracted:?}"));
    }
}

/// A prepared root: links that were there before the archive came.
#[test]
fn links_that_are_there_already_lead_nowhere_else() {
    if !is_root() {
        return;
    }
    let specs = [
        "f l/hello = pwn",
        "d l 777",
        "f l = pwn",
        "h l/x == l/hello",
        "f l/.wh.hello",
        "l l/hello -> /etc",
        "h x == l/hello",
    ];
    for spec in specs {
        for target in ["@/victim", "../victim", "/../../victim"] {
            let arena = Arena::new();
            let link = arena.fill(target);
            std::os::unix::fs::symlink(link, arena.scratch.path("x/root/l")).unwrap();
            let applied = apply_layer(&tar(spec)[..], &arena.root, format(), &Limits::default());
            arena.assert_untouched(&format!("{spec} with l -> {target}: {applied:?}"));
        }
    }
}

#[test]
fn what_is_harmless_lands_inside() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.tree("root", "");
    let archive = tar("
        d run
        l var/run -> /run
        f var/run/x = 1
        l up -> ../../../../run
        f up/y = 2
        f ../../run/z = 3
        l t -> /created/later
        f t/w = 4
        h hard == /var/run/x
    ");
    extract_archive(&archive[..], &root, None, &Limits::default()).unwrap();
    assert_tree(
        &root,
        "created/ 755
         created/later/ 755
         created/later/w 644 = 4
         hard 644 = 1
         run/ 755
         run/x 644 = 1
         run/y 644 = 2
         run/z 644 = 3
         t -> /created/later
         up -> ../../../../run
         var/ 755
         var/run -> /run",
    );
}

fn refusal(spec: &str) -> Option<Refusal> {
    let scratch = Scratch::new();
    match apply_layer(&tar(spec)[..], &scratch.tree("root", ""), format(), &Limits::default()) {
        Err(UnpackError::Refused { refusal, .. }) => Some(refusal),
        _ => None,
    }
}

#[test]
fn abuse_is_refused_by_name() {
    for spec in ["f .wh.", "f .wh..", "f .wh...", "f d/.wh...", "f .wh.etc/x = 1"] {
        assert_eq!(refusal(spec), Some(Refusal::BadWhiteout), "{spec}");
    }
    assert_eq!(refusal("c x 0 0"), Some(Refusal::WhiteoutDevice));
    assert_eq!(refusal("l . -> x"), Some(Refusal::ReplacesRoot));
    assert_eq!(refusal("f / = x"), Some(Refusal::ReplacesRoot));
    assert_eq!(refusal("h a == missing"), Some(Refusal::BadHardLink));
    assert_eq!(refusal("d d\nh a == d"), Some(Refusal::BadHardLink));
    assert_eq!(refusal("f f = x\nf f/x = y"), Some(Refusal::BelowNonDirectory));
    assert_eq!(refusal("l a ->"), Some(Refusal::BadLinkTarget));
    assert_eq!(refusal("f .wh..wh.plnk/1.2 = x"), None, "notes of other storage drivers are left out");
}

/// A4: overlayfs's notes in an archive neither show nor hide anything.
#[test]
fn overlay_notes_are_not_taken_from_archives() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let base = scratch.tree("base", "secret/file = hidden\nplain/file = seen");
    let layer = scratch.tree("layer", "");
    let archive = tar("
        f .wh.secret
        x SCHILY.xattr.trusted.overlay.redirect=/secret
        d public
        x SCHILY.xattr.user.overlay.redirect=/secret
        d public2
        x SCHILY.xattr.trusted.overlay.opaque=y
        d plain
        x SCHILY.xattr.trusted.overlay.metacopy=
        f meta = x
        x SCHILY.xattr.security.selinux=evil
        f labelled = x
        x SCHILY.xattr.user.kept=1
        f attributed = x
    ");
    let applied = apply_layer(&archive[..], &layer, format(), &Limits::default()).unwrap();
    assert_eq!(applied.xattrs_dropped, 5);
    assert_tree(
        &merged(&[&base, &layer], format()).unwrap(),
        "attributed 644 = x
         labelled 644 = x
         meta 644 = x
         plain/ 755
         plain/file 644 = seen
         public/ 755
         public2/ 755",
    );
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(scratch.path("layer/attributed"), "user.kept", &mut value).unwrap();
    assert_eq!(&value[..length], b"1");
}

/// A pipe or a device in the place of a text does not block a reader.
#[test]
fn what_is_no_regular_file_is_not_read() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.tree("root", "");
    let archive = tar("p etc/passwd\nd etc/group\nl etc/shadow -> /etc/passwd\nd etc/dir");
    extract_archive(&archive[..], &root, None, &Limits::default()).unwrap();
    for name in ["etc/passwd", "etc/group", "etc/shadow", "etc/dir"] {
        assert!(root.read_file(name.as_bytes(), 100).is_err(), "{name}");
    }
    assert!(root.metadata(b"etc/passwd", Follow::Yes).is_ok());
}

/// A17: while archives are made of and unpacked into a tree, a directory in it is exchanged with a link to the host again
/// and again. What is read and written stays inside.
#[test]
fn exchanging_directories_and_links_gains_nothing() {
    use std::sync::atomic::{AtomicBool, Ordering};
    if !is_root() {
        return;
    }
    let arena = Arena::new();
    let (root, victim) = (arena.scratch.path("x/root"), arena.fill("@/victim"));
    make(&root, "d/hello = inside\nother/ 755");
    std::os::unix::fs::symlink(victim, root.join("l")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let exchanger = scope.spawn(|| {
            let mut count = 0_u64;
            while !done.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                match rustix::fs::renameat_with(&arena.root, c"d", &arena.root, c"l", flags) {
                    Ok(()) => count += 1,
                    // An entry of the archive is just taking the place of one of them.
                    Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => panic!("cannot exchange: {error}"),
                }
            }
            count
        });
        let archive = tar("f d/new = x\nf l/new = x\nd d 700\nf d/hello = inside");
        for _ in 0..1000 {
            let mut out = Vec::new();
            // Either may fail when what it looks at changes; that is a clean end.
            drop(stave_tree::pack_tree(&arena.root, b"d", b"d", stave_tree::Times::Real, &mut out));
            drop(stave_tree::pack_tree(&arena.root, b"", b"", stave_tree::Times::Real, &mut out));
            assert!(!out.windows(8).any(|window| window == b"sentinel"));
            drop(extract_archive(&archive[..], &arena.root, None, &Limits::default()));
            drop(arena.root.read_file(b"d/hello", 100).map(|bytes| assert_eq!(bytes, b"inside")));
        }
        done.store(true, Ordering::Relaxed);
        assert!(exchanger.join().unwrap() > 100);
    });
    assert_eq!(Arena::picture(&arena.scratch.path("x")), arena.before);
}
