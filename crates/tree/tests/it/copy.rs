//! `COPY` and `WORKDIR`, by BuildKit's rules: numbers are those of the feature list.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use stave_oci::ModeChange;
use stave_tree::{
    Context, CopyError, CopyManifest, CopyReport, CopyRequest, Dir, HashMemory, Layers, Origin, Previous, Selection,
    Time, copy_into, make_dir, merged, select,
};

use crate::support::{Scratch, assert_tree, format, is_root, layers, show};

const NOW: Time = Time { seconds: 4_000_000_000, nanoseconds: 0 };

fn from_context(root: Dir, patterns: &[&str]) -> Selection {
    Context::open(root, None, HashMemory::empty(NOW)).select(patterns).unwrap()
}

fn request<'a>(parent: Option<&'a Layers>, selections: Vec<Selection>, dest: &'a str) -> CopyRequest<'a> {
    CopyRequest {
        parent,
        selections,
        dest: dest.as_bytes(),
        dest_is_dir: dest.ends_with('/'),
        owner: None,
        mode: None,
        previous: None,
        format: format(),
    }
}

/// Copies from a context onto a base and returns what the image then looks like.
struct Case {
    scratch: Scratch,
    base: Dir,
    layer: Dir,
}

impl Case {
    fn new(context: &str, base: &str) -> Self {
        let scratch = Scratch::new();
        scratch.tree("context", context);
        let base = scratch.tree("base", base);
        let layer = scratch.tree("layer", "");
        Self { scratch, base, layer }
    }

    fn copy(&self, patterns: &[&str], dest: &str) -> Result<CopyReport, CopyError> {
        self.copy_with(patterns, dest, |_| {})
    }

    fn copy_with(
        &self,
        patterns: &[&str],
        dest: &str,
        change: impl FnOnce(&mut CopyRequest<'_>),
    ) -> Result<CopyReport, CopyError> {
        let below = layers(&[&self.base]);
        let selection = from_context(self.scratch.open("context"), patterns);
        let mut request = request(Some(&below), vec![selection], dest);
        change(&mut request);
        copy_into(&request, &self.layer)
    }

    fn image(&self) -> Dir {
        merged(&[&self.base, &self.layer], format()).unwrap()
    }
}

#[test]
fn a_slash_decides_between_a_file_name_and_a_directory() {
    if !is_root() {
        return;
    }
    let case = Case::new("f 644 = x", "sample/ 755");
    case.copy(&["f"], "/sample/").unwrap();
    case.copy(&["f"], "/new").unwrap();
    case.copy(&["f"], "/deep/er/").unwrap();
    assert_tree(
        &case.image(),
        "deep/ 755
         deep/er/ 755
         deep/er/f 644 = x
         new 644 = x
         sample/ 755
         sample/f 644 = x",
    );
}

#[test]
fn a_file_copied_to_a_directory_keeps_its_name() {
    if !is_root() {
        return;
    }
    let case = Case::new("f 600 = x", "sample/ 711");
    case.copy(&["f"], "/sample").unwrap();
    assert_tree(&case.image(), "sample/ 711\nsample/f 600 = x");
}

/// A128, T91.
#[test]
fn of_a_directory_the_contents_are_copied() {
    if !is_root() {
        return;
    }
    let case = Case::new("dir/ 700\ndir/a 644 = 1\ndir/sub/ 750\ndir/sub/b 755 = 2", "old/ 711 7:8");
    case.copy(&["dir"], "/old").unwrap();
    case.copy(&["dir/"], "/new").unwrap();
    assert_tree(
        &case.image(),
        "new/ 755
         new/a 644 = 1
         new/sub/ 750
         new/sub/b 755 = 2
         old/ 711 7:8
         old/a 644 = 1
         old/sub/ 750
         old/sub/b 755 = 2",
    );
}

/// Files of the user's directory are root's, whoever owns them there; those of an archive keep what it says, as in BuildKit.
#[test]
fn files_of_an_archive_keep_their_owners() {
    if !is_root() {
        return;
    }
    let case = Case::new("d/ 750 5:6\nd/f 640 7:8 = x", "");
    let below = layers(&[&case.base]);
    for (context, expected) in [
        (Context::open as fn(_, _, _) -> _, "d/ 750\nd/f 640 = x"),
        (Context::of_archive as fn(_, _, _) -> _, "d/ 750 5:6\nd/f 640 7:8 = x"),
    ] {
        let context: Context = context(case.scratch.open("context"), None, HashMemory::empty(NOW));
        let layer = case.scratch.tree("out", "");
        copy_into(&request(Some(&below), vec![context.select(&["."]).unwrap()], "/"), &layer).unwrap();
        assert_tree(&layer, expected);
        std::fs::remove_dir_all(case.scratch.path("out")).unwrap();
    }
}

/// A136, T106, T110. Below the destination, a directory of the source gives its attributes to one that exists.
#[test]
fn owner_and_mode_are_for_what_is_made_or_copied() {
    if !is_root() {
        return;
    }
    let case = Case::new("f 644 = x\nd/old/f 644 = y", "e/ 750\ne/old/ 700 5:5");
    let change = |request: &mut CopyRequest<'_>| {
        request.owner = Some((1000, 1001));
        request.mode = Some(ModeChange::parse("2711").unwrap());
    };
    case.copy_with(&["f"], "/e/new/", change).unwrap();
    case.copy_with(&["d"], "/e/", change).unwrap();
    assert_tree(
        &case.image(),
        "e/ 750
         e/new/ 2711 1000:1001
         e/new/f 2711 1000:1001 = x
         e/old/ 2711 1000:1001
         e/old/f 2711 1000:1001 = y",
    );
}

/// A132, T100, T101.
#[test]
fn links_on_the_way_to_the_destination_stay_in_the_image() {
    if !is_root() {
        return;
    }
    let case = Case::new("f 644 = x", "run/ 755\nvar/run -> /run\nout -> ../../../../etc\nfile -> /etc/real\netc/ 755");
    case.copy(&["f"], "/var/run/x").unwrap();
    case.copy(&["f"], "/out/y").unwrap();
    case.copy(&["f"], "/file").unwrap();
    assert_tree(
        &case.image(),
        "etc/ 755
         etc/real 644 = x
         etc/y 644 = x
         file -> /etc/real
         out -> ../../../../etc
         run/ 755
         run/x 644 = x
         var/ 755
         var/run -> /run",
    );
}

/// A133, T102.
#[test]
fn files_and_directories_do_not_replace_each_other() {
    if !is_root() {
        return;
    }
    let case = Case::new("d/x/inner = 1\ne/x = 2", "a/x = 0\nb/x/ 755\nlinked/x -> /b");
    assert!(matches!(case.copy(&["d"], "/a"), Err(CopyError::OverNonDirectory(path)) if path.ends_with("a/x")));
    assert!(matches!(case.copy(&["e"], "/b"), Err(CopyError::OverDirectory(path)) if path.ends_with("b/x")));
    assert!(matches!(case.copy(&["d"], "/linked"), Err(CopyError::OverNonDirectory(_))));
    assert!(matches!(case.copy(&["d"], "/a/x/deeper"), Err(CopyError::OverNonDirectory(_))));
}

#[test]
fn a_file_replaces_a_file_and_a_link_in_a_directory() {
    if !is_root() {
        return;
    }
    let case = Case::new("d/x 644 = new\nd/y 644 = new\nd/z -> there", "a/x 600 = old\na/y -> x\na/z = old");
    case.copy(&["d"], "/a").unwrap();
    assert_tree(&case.image(), "a/ 755\na/x 644 = new\na/y 644 = new\na/z -> there");
}

/// A134, T103, T104, T105.
#[test]
fn modes_times_attributes_and_hard_links_are_kept() {
    if !is_root() {
        return;
    }
    let case = Case::new("d/a 6755 = tool\nd/sub/b == d/a\nd/alone 1644 = x\nd/s socket\nd/p pipe\nd/t/ 1777", "");
    let file = case.scratch.path("context/d/a");
    rustix::fs::setxattr(&file, "user.note", b"hello", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(case.scratch.path("context/d/t"), "user.dir", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    let times =
        std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 123));
    std::fs::File::open(&file).unwrap().set_times(times).unwrap();
    std::fs::File::open(case.scratch.path("context/d/t")).unwrap().set_times(times).unwrap();
    case.copy(&["d"], "/x").unwrap();
    let image = case.image();
    let shown = show(&image).replace(" 755 socket", "");
    assert_eq!(
        shown.lines().collect::<Vec<_>>(),
        [
            "x/ 755",
            "x/a 6755 = tool",
            "x/alone 1644 = x",
            "x/p 644 pipe",
            "x/s 755 = ",
            "x/sub/ 755",
            "x/sub/b 6755 = tool",
            "x/t/ 1777",
        ]
    );
    let at = |name: &str| std::fs::metadata(case.scratch.path("layer").join(name)).unwrap();
    assert_eq!(at("x/a").ino(), at("x/sub/b").ino());
    for name in ["x/a", "x/t"] {
        let time = Time { seconds: 1_000_000, nanoseconds: 123 }.marked(Origin::Given);
        assert_eq!((at(name).mtime(), at(name).mtime_nsec()), (time.seconds, i64::from(time.nanoseconds)), "{name}");
    }
    let mut value = [0; 20];
    let length = rustix::fs::getxattr(case.scratch.path("layer/x/a"), "user.note", &mut value).unwrap();
    assert_eq!(&value[..length], b"hello");
    let length = rustix::fs::getxattr(case.scratch.path("layer/x/t"), "user.dir", &mut value).unwrap();
    assert_eq!(&value[..length], b"1");
}

/// A135.
#[test]
fn files_of_a_context_are_roots_and_files_of_a_tree_keep_their_owners() {
    if !is_root() {
        return;
    }
    let case = Case::new("f 644 5:6 = x", "");
    case.copy(&["f"], "/c").unwrap();
    let view = case.scratch.open("context");
    copy_into(&request(None, vec![select(&layers(&[&view]), &["/f"]).unwrap()], "/t"), &case.layer).unwrap();
    assert_tree(&case.layer, "c 644 = x\nt 644 5:6 = x");
}

/// A131, T98, T99.
#[test]
fn links_that_are_named_are_followed_and_links_that_are_found_are_not() {
    if !is_root() {
        return;
    }
    let case = Case::new(
        "real/f 644 = x\nl1 -> l2\nl2 -> real\nabs -> /real/f\nwalk/out -> /etc/passwd\nwalk/up -> ../../../secret",
        "",
    );
    case.copy(&["l1"], "/dir/").unwrap();
    case.copy(&["abs"], "/file").unwrap();
    case.copy(&["ab*"], "/wild/").unwrap();
    case.copy(&["walk"], "/walk").unwrap();
    assert_tree(
        &case.layer,
        "dir/ 755
         dir/f 644 = x
         file 644 = x
         walk/ 755
         walk/out -> /etc/passwd
         walk/up -> ../../../secret
         wild/ 755
         wild/abs 644 = x",
    );
}

#[test]
fn later_sources_replace_earlier_ones() {
    if !is_root() {
        return;
    }
    let case = Case::new("a/f 644 = first\na/g == a/f\nb/f 644 = second\nc/f/ 755", "");
    case.copy(&["a", "b"], "/x/").unwrap();
    assert_tree(&case.layer, "x/ 755\nx/f 644 = second\nx/g 644 = first");
    assert!(matches!(case.copy(&["c"], "/x/"), Err(CopyError::OverNonDirectory(_))));
}

#[test]
fn existing_directories_look_the_same_in_the_layer() {
    if !is_root() {
        return;
    }
    let case = Case::new("f = x", "a/ 2750 3:4\na/b/ 1700 5:6");
    let times = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(77, 5));
    for name in ["a", "a/b"] {
        let path = case.scratch.path("base").join(name);
        rustix::fs::setxattr(&path, "user.x", b"1", rustix::fs::XattrFlags::empty()).unwrap();
        std::fs::File::open(&path).unwrap().set_times(times).unwrap();
    }
    std::fs::set_permissions(case.scratch.path("base"), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    case.copy_with(&["f"], "/a/b/f", |request| request.owner = Some((9, 9))).unwrap();
    let image = case.image();
    assert_eq!(image.own_metadata().unwrap().mode, 0o711);
    for (name, mode, owner) in [("a", 0o2750, (3, 4)), ("a/b", 0o1700, (5, 6))] {
        let metadata = image.metadata(name.as_bytes(), stave_tree::Follow::No).unwrap();
        assert_eq!((metadata.mode, (metadata.uid, metadata.gid)), (mode, owner));
        assert_eq!(metadata.modified, Time { seconds: 77, nanoseconds: 5 });
        let mut value = [0; 8];
        assert_eq!(rustix::fs::getxattr(case.scratch.path("layer").join(name), "user.x", &mut value), Ok(1));
    }
    assert_eq!(image.metadata(b"a/b/f", stave_tree::Follow::No).unwrap().gid, 9);
}

#[test]
fn a_group_of_the_parent_does_not_rub_off() {
    if !is_root() {
        return;
    }
    let case = Case::new("f 644 = x\nd/l -> y", "a/ 2775 0:50");
    case.copy(&["f"], "/a/").unwrap();
    case.copy(&["d"], "/a/").unwrap();
    assert_tree(&case.image(), "a/ 2775 0:50\na/f 644 = x\na/l -> y");
}

#[test]
fn the_same_files_are_linked_from_the_previous_result() {
    if !is_root() {
        return;
    }
    let case = Case::new("d/a 644 = 1\nd/b 644 = 2\nd/c 644 = 3\nd/h 644 = 4\nd/i == d/h", "");
    let report = case.copy(&["d"], "/x/").unwrap();
    assert_eq!((report.files, report.linked), (5, 0));
    let manifest = CopyManifest::from_bytes(&report.manifest.to_bytes()).unwrap();
    let context = case.scratch.path("context");
    std::fs::write(context.join("d/b"), "changed").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(context.join("d/c"), mode).unwrap();
    let next = case.scratch.tree("next", "");
    let selection = from_context(case.scratch.open("context"), &["d"]);
    let mut request = request(None, vec![selection], "/x/");
    request.previous = Some(Previous { layer: &case.layer, manifest: &manifest });
    // One file is linked, and one has two names.
    assert_eq!(request.weight(&next), 3 * 4096);
    let report = copy_into(&request, &next).unwrap();
    assert_eq!((report.files, report.linked), (5, 1));
    assert_tree(&next, "x/ 755\nx/a 644 = 1\nx/b 644 = changed\nx/c 600 = 3\nx/h 644 = 4\nx/i 644 = 4");
    assert_tree(&case.layer, "x/ 755\nx/a 644 = 1\nx/b 644 = 2\nx/c 644 = 3\nx/h 644 = 4\nx/i 644 = 4");
    let inode = |layer: &str, name: &str| std::fs::metadata(case.scratch.path(layer).join(name)).unwrap().ino();
    assert_eq!(inode("layer", "x/a"), inode("next", "x/a"));
    assert_ne!(inode("layer", "x/c"), inode("next", "x/c"));
}

#[test]
fn a_file_that_changes_after_it_was_selected_is_an_error() {
    if !is_root() {
        return;
    }
    let case = Case::new("f = 1\ng = 2", "");
    let selection = from_context(case.scratch.open("context"), &["f", "g"]);
    std::fs::write(case.scratch.path("context/g"), "other").unwrap();
    let error = copy_into(&request(None, vec![selection], "/x/"), &case.layer).unwrap_err();
    assert!(matches!(error, CopyError::Changed(_)), "{error}");
}

#[test]
fn a_directory_that_is_made_belongs_to_the_given_owner() {
    if !is_root() {
        return;
    }
    let case = Case::new("", "a/ 700\nl -> /a\nf = x");
    assert!(make_dir(Some(&layers(&[&case.base])), b"/l/b/c", Some((5, 6)), &case.layer).unwrap());
    assert_tree(&case.image(), "a/ 700\na/b/ 755 5:6\na/b/c/ 755 5:6\nf 644 = x\nl -> /a");
    let again = layers(&[&case.base, &case.layer]);
    let other = case.scratch.tree("other", "");
    assert!(!make_dir(Some(&again), b"a/b/../b/c", None, &other).unwrap());
    assert_tree(&other, "");
    assert!(matches!(make_dir(Some(&again), b"/f", None, &other), Err(CopyError::OverNonDirectory(_))));
    assert!(make_dir(None, b"/w", Some((1, 2)), &other).unwrap());
    assert_tree(&other, "w/ 755 1:2");
}

/// A127, A136: as `mkdir` makes it, and with it BuildKit.
#[test]
fn a_directory_that_is_made_in_a_set_gid_directory_has_its_group_and_is_one() {
    if !is_root() {
        return;
    }
    let made = |path: &str, change: &dyn Fn(&mut CopyRequest<'_>)| {
        let case = Case::new("f = 1", "");
        std::fs::create_dir(case.scratch.path("base/g")).unwrap();
        std::os::unix::fs::chown(case.scratch.path("base/g"), Some(3), Some(7)).unwrap();
        std::fs::set_permissions(case.scratch.path("base/g"), std::os::unix::fs::PermissionsExt::from_mode(0o2775))
            .unwrap();
        case.copy_with(&["f"], "/g/a/b/", |request| change(request)).unwrap();
        let metadata = std::fs::metadata(case.scratch.path(path)).unwrap();
        (metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
    };
    assert_eq!(made("layer/g/a/b", &|_| {}), (0o2755, 0, 7));
    assert_eq!(made("layer/g/a/b", &|request| request.owner = Some((1, 2))), (0o2755, 1, 2));
    // A mode that is set takes the bit away, and what is below is like anything else.
    let private = |request: &mut CopyRequest<'_>| request.mode = Some(ModeChange::parse("700").unwrap());
    assert_eq!(made("layer/g/a", &private), (0o700, 0, 7));
    assert_eq!(made("layer/g/a/b", &private), (0o700, 0, 0));
}

#[test]
fn of_an_empty_directory_nothing_is_copied_into_one_that_is_there() {
    if !is_root() {
        return;
    }
    let case = Case::new("e/ 755", "a/ 700");
    case.copy(&["e"], "/a/").unwrap();
    assert_tree(&case.layer, "");
    case.copy(&["e"], "/n/").unwrap();
    assert_tree(&case.layer, "n/ 755");
}

#[test]
fn large_and_sparse_files_are_copied_whole() {
    if !is_root() {
        return;
    }
    let case = Case::new("d/", "");
    let sparse = std::fs::File::create(case.scratch.path("context/d/sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(b"middle", 32 << 20).unwrap();
    let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    std::fs::write(case.scratch.path("context/d/large"), &bytes).unwrap();
    case.copy(&["d"], "/").unwrap();
    assert!(case.layer.read_file(b"large", 1 << 30).unwrap() == bytes);
    let copy = std::fs::metadata(case.scratch.path("layer/sparse")).unwrap();
    assert_eq!(copy.len(), 64 << 20);
    assert!(copy.blocks() * 512 < 1 << 20, "holes stay holes");
    let mut middle = [0; 6];
    std::fs::File::open(case.scratch.path("layer/sparse")).unwrap().read_exact_at(&mut middle, 32 << 20).unwrap();
    assert_eq!(&middle, b"middle");
}
