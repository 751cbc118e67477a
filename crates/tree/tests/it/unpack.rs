//! What archives become, and what in them is refused.

use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use stave_tree::unpack::{Malformed, Refusal};
use stave_tree::{
    Context, CopyRequest, Dir, HashMemory, Limits, Time, UnpackError, adopt_directories, apply_layer, copy_into,
    decompress, extract_archive, merged,
};

use crate::archive::{Raw, pax, tar};
use crate::support::{Scratch, assert_tree, format, in_user_namespace, is_root, layers, show};

fn apply(into: &Dir, archive: &[u8]) -> Result<stave_tree::Applied, UnpackError> {
    apply_layer(archive, into, format(), &Limits::default())
}

fn malformed(archive: &[u8]) -> Option<Malformed> {
    let scratch = Scratch::new();
    match apply(&scratch.tree("root", ""), archive) {
        Err(UnpackError::Malformed(reason)) => Some(reason),
        _ => None,
    }
}

#[test]
fn a_layer_becomes_what_its_entries_say() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.tree("root", "");
    let archive = tar("
        d ./ 711
        d etc/ 750 3:4
        f etc/passwd 600 1:2 = root
        f ./bin/tool 6755 = code
        h bin/other 6755 == bin/tool
        l bin/sh -> /bin/tool
        h bin/link == bin/sh
        p pipe 600
        f etc/passwd 640 = again
    ");
    let applied = apply(&root, &archive).unwrap();
    assert_eq!((applied.entries, applied.bytes), (9, 4 + 4 + 5));
    assert_eq!(applied.implied, [b"bin".to_vec()]);
    assert_tree(
        &root,
        "bin/ 755
         bin/link -> /bin/tool
         bin/other 6755 = code
         bin/sh -> /bin/tool
         bin/tool 6755 = code
         etc/ 750 3:4
         etc/passwd 640 = again
         pipe 600 pipe",
    );
    assert_eq!(root.own_metadata().unwrap().mode, 0o711);
    let at = |name: &str| std::fs::symlink_metadata(scratch.path("root").join(name)).unwrap();
    assert_eq!(at("bin/tool").ino(), at("bin/other").ino());
    assert_eq!(
        (at("etc").mtime(), at("bin/tool").mtime(), at("bin/sh").mtime()),
        (1_000_000_000, 1_000_000_000, 1_000_000_000)
    );
}

/// Row 18: an entry that is a second name says what the file is like from there on, as it does for Docker.
///
/// Reference: Moby, `go-archive`, `createTarFile`.
#[test]
fn the_entry_of_a_hard_link_has_the_last_word_about_the_file() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.tree("root", "");
    let capability = "SCHILY.xattr.security.capability=\u{1}\0\0\u{2}\0\u{4}\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let spec = "x mtime=7\nf a 600 1:2 = text\nx SCHILY.xattr.user.note=n\nh b 4711 3:4 == a\nf kept 755 = code";
    let mut archive = tar(spec);
    archive.truncate(archive.len() - 1024);
    // A name without a word about capabilities takes none away, as long as the owner stays who it is.
    for (path, link) in [("c", None), ("d", Some("c"))] {
        if link.is_none() {
            pax(&mut archive, b'x', capability);
        }
        let mut raw = Raw::new(path, if link.is_some() { b'1' } else { b'0' });
        raw.content = if link.is_some() { Vec::new() } else { b"x".to_vec() };
        raw.mode = 0o755;
        raw.link = link.unwrap_or_default().as_bytes().to_vec();
        raw.append(&mut archive);
    }
    archive.resize(archive.len() + 1024, 0);
    apply(&root, &archive).unwrap();
    assert_tree(&root, "a 4711 3:4 = text\nb 4711 3:4 = text\nc 755 = x\nd 755 = x\nkept 755 = code");
    let path = |name: &str| scratch.path("root").join(name);
    assert_eq!(std::fs::metadata(path("a")).unwrap().mtime(), 1_000_000_000);
    let mut value = [0; 64];
    assert_eq!(rustix::fs::getxattr(path("a"), "user.note", &mut value).unwrap(), 1);
    assert_eq!(rustix::fs::getxattr(path("d"), "security.capability", &mut value).unwrap(), 20);
}

/// Row 20: where devices cannot be made, the rest of the layer is unpacked and the report says what is missing.
#[test]
fn devices_are_made_or_counted() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.tree("root", "");
    let applied = apply(&root, &tar("c null 1 3\nb disk 8 0\nf after = x")).unwrap();
    if in_user_namespace() {
        assert_eq!(applied.devices_skipped, 2);
        assert_tree(&root, "after 644 = x");
    } else {
        assert_eq!(applied.devices_skipped, 0);
        assert_tree(&root, "after 644 = x\ndisk 644 block device\nnull 644 device");
        let device = root.metadata(b"disk", stave_tree::Follow::No).unwrap().rdev;
        assert_eq!((rustix::fs::major(device), rustix::fs::minor(device)), (8, 0));
    }
}

/// Row 29: ids that this user namespace does not have become root's, and are counted.
#[test]
fn ids_that_are_not_mapped_are_counted() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.tree("root", "");
    let applied = apply(&root, &tar("x uid=1516583083\nf f = x\nx gid=1516583083\nl l -> f")).unwrap();
    if in_user_namespace() {
        assert_eq!(applied.unmapped, 2);
        assert_tree(&root, "f 644 = x\nl -> f");
    } else {
        assert_eq!(applied.unmapped, 0);
        assert_tree(&root, "f 644 1516583083:0 = x\nl 0:1516583083 -> f");
    }
}

#[test]
fn whiteouts_hide_what_lower_layers_have_in_any_order() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let base = scratch.tree("base", "a = 1\nb/old = 2\nc/old = 3\nd/old = 4\ne/old = 5\nf/old = 6\ng = 7");
    let layer = scratch.tree("layer", "");
    let archive = tar("
        f .wh.a
        f b/new = 1
        f b/.wh..wh..opq
        f .wh.c
        f c/new = 2
        d d
        f d/new = 3
        f .wh.d
        f e/.wh.old
        f .wh.f
        d f
        f g = new
        f .wh.g
        f .wh.never
    ");
    apply(&layer, &archive).unwrap();
    assert_tree(
        &merged(&[&base, &layer], format()).unwrap(),
        "b/ 755\nb/new 644 = 1\nc/ 755\nc/new 644 = 2\nd/ 755\nd/new 644 = 3\ne/ 755\nf/ 755\ng 644 = new",
    );
}

#[test]
fn directories_that_the_archive_does_not_have_take_after_those_below() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let base = scratch.tree("base", "a/ 700 3:4\na/b/ 1777\nc = x");
    let layer = scratch.tree("layer", "");
    let applied = apply(&layer, &tar("f a/b/new/f = x")).unwrap();
    assert_eq!(applied.implied, [b"".to_vec(), b"a".to_vec(), b"a/b".to_vec(), b"a/b/new".to_vec()]);
    adopt_directories(&layer, &layers(&[&base]), &applied.implied).unwrap();
    assert_tree(&layer, "a/ 700 3:4\na/b/ 1777\na/b/new/ 755\na/b/new/f 644 = x");
}

/// A2: a size in two places.
#[test]
fn the_extended_size_is_the_one_that_counts() {
    if !is_root() {
        return;
    }
    for header_size in [0, 5, 1024] {
        let mut hidden = Vec::new();
        let mut inner = Raw::new("hidden", b'0');
        inner.content = b"x".to_vec();
        inner.append(&mut hidden);
        let mut archive = Vec::new();
        pax(&mut archive, b'x', &format!("size={}", hidden.len()));
        let mut outer = Raw::new("outer", b'0');
        outer.size = Some(header_size);
        outer.content = hidden.clone();
        outer.append(&mut archive);
        archive.extend(tar("f after = y"));
        let scratch = Scratch::new();
        let root = scratch.tree("root", "");
        apply(&root, &archive).unwrap();
        assert_eq!(root.read_file(b"outer", 10_000).unwrap(), hidden);
        assert!(!root.exists(b"hidden").unwrap());
        assert!(root.exists(b"after").unwrap());
    }
}

/// A2.
#[test]
fn malformed_archives_are_errors() {
    assert_eq!(malformed(&tar("f a = x")[..700]), Some(Malformed::Truncated));
    let mut broken = tar("f a = x");
    broken[3] ^= 1;
    assert_eq!(malformed(&broken), Some(Malformed::Checksum));
    let mut record = Raw::new("pax", b'x');
    record.content = b"5 path=ab\n".to_vec();
    let mut archive = Vec::new();
    record.append(&mut archive);
    archive.extend(tar("f a = x"));
    assert_eq!(malformed(&archive), Some(Malformed::ExtendedHeader));
    assert_eq!(malformed(&tar("x path=b")), Some(Malformed::ExtendedHeader), "no entry follows");
    assert_eq!(malformed(&tar("x uid=4294967295\nf a = x")), Some(Malformed::Id(4_294_967_295)));
    assert_eq!(malformed(&tar("x size=99999999999999999999\nf a = x")), Some(Malformed::ExtendedHeader));
    assert_eq!(malformed(&tar("x path=a\0b\nf a = x")), Some(Malformed::ExtendedHeader));
    assert_eq!(malformed(&tar("Q a")), Some(Malformed::Type(b'Q')));
    let mut archive = Vec::new();
    let mut long = Raw::new("long", b'L');
    long.content = b"name\0".to_vec();
    long.append(&mut archive);
    archive.extend(tar("x path=other\nf a = x"));
    assert_eq!(malformed(&archive), Some(Malformed::TwoNames));
    let mut archive = tar("f a = x");
    archive.truncate(archive.len() - 512);
    archive.extend(tar("f b = x"));
    assert_eq!(malformed(&archive), Some(Malformed::AfterEnd));
    let mut huge = Vec::new();
    let mut header = Raw::new("pax", b'x');
    header.size = Some(1 << 40);
    header.append(&mut huge);
    assert_eq!(malformed(&huge), Some(Malformed::ExtendedHeaderTooLarge));
}

#[test]
fn empty_streams_are_empty_archives() {
    let scratch = Scratch::new();
    let root = scratch.tree("root", "");
    for archive in [vec![], vec![0; 512], vec![0; 1024], vec![0; 10_240]] {
        assert_eq!(apply(&root, &archive).unwrap().entries, 0);
    }
}

#[test]
fn limits_are_errors() {
    let scratch = Scratch::new();
    let root = scratch.tree("root", "");
    let limits = Limits { entries_max: 2, bytes_max: 10 };
    let extract = |archive: Vec<u8>| extract_archive(&archive[..], &root, None, &limits).unwrap_err();
    assert!(matches!(extract(tar("d a\nd b\nd c")), UnpackError::TooManyEntries(2)));
    assert!(matches!(extract(tar("f a = 123456\nf b = 123456")), UnpackError::TooManyBytes(10)));
    let long = "n".repeat(256);
    let refused = extract_archive(&tar(&format!("x path=a/{long}\nf a = x"))[..], &root, None, &Limits::default());
    assert!(matches!(refused, Err(UnpackError::Refused { refusal: Refusal::BadName, .. })));
}

/// Row 21 and 22 of the reliability table.
#[test]
fn long_and_strange_names_are_bytes() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let root = scratch.tree("root", "");
    let deep = vec!["d".repeat(200); 200].join("/");
    let mut archive = Vec::new();
    pax(&mut archive, b'x', &format!("path={deep}/end"));
    archive.extend(tar("f x = deep"));
    archive.truncate(archive.len() - 1024);
    let mut long = Raw::new("././@LongLink", b'L');
    long.content = [b"g/".as_slice(), &[b'\xff'; 250]].concat();
    long.append(&mut archive);
    archive.extend(tar("f x = gnu"));
    apply(&root, &archive).unwrap();
    assert_eq!(root.read_file(format!("{deep}/end").as_bytes(), 10).unwrap(), b"deep");
    assert_eq!(root.read_file(&[b"g/".as_slice(), &[b'\xff'; 250]].concat(), 10).unwrap(), b"gnu");
    root.remove_tree("d".repeat(200).as_bytes()).unwrap();
}

/// Row 17: all ways in which GNU tar notes sparse files.
#[test]
fn sparse_files_have_their_holes_again() {
    if !is_root() || !has_gnu_tar() {
        return;
    }
    let scratch = Scratch::new();
    scratch.tree("in", "plain = x");
    let sparse = std::fs::File::create(scratch.path("in/sparse")).unwrap();
    for index in 0..40_u64 {
        sparse.write_all_at(b"data", index * 1_000_000).unwrap();
    }
    sparse.set_len(90_000_001).unwrap();
    let formats: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=posix", "--sparse-version=1.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=0.0"],
    ];
    for format in formats {
        let archive =
            gnu_tar(&scratch, &[format, &["-S", "-C", scratch.path("in").to_str().unwrap(), "-cf", "-", "."]].concat());
        assert!(archive.len() < 2_000_000);
        let root = scratch.tree(&format!("out{}", format.concat()), "");
        apply(&root, &archive).unwrap();
        let (expected, actual) =
            (std::fs::read(scratch.path("in/sparse")).unwrap(), root.read_file(b"sparse", 1 << 30).unwrap());
        assert!(expected == actual, "{format:?}");
        assert_eq!(root.read_file(b"plain", 10).unwrap(), b"x", "what follows is found");
    }
}

fn has_gnu_tar() -> bool {
    let version = std::process::Command::new("tar").arg("--version").output();
    let gnu = version.is_ok_and(|output| output.stdout.starts_with(b"tar (GNU tar)"));
    if !gnu {
        eprintln!("skipped: needs GNU tar");
    }
    gnu
}

fn gnu_tar(scratch: &Scratch, arguments: &[&str]) -> Vec<u8> {
    let output = std::process::Command::new("tar").args(arguments).current_dir(scratch.path("")).output().unwrap();
    assert!(output.status.success(), "{}", output.stderr.escape_ascii());
    output.stdout
}

/// A2: what GNU tar writes in each of its formats is what comes out here.
#[test]
fn archives_of_gnu_tar_become_the_same_tree() {
    if !is_root() || !has_gnu_tar() {
        return;
    }
    let scratch = Scratch::new();
    let long = "n".repeat(120);
    let spec = format!(
        "a/ 750 5:6\na/f 640 7:8 = text\na/g == a/f\na/l -> {}\n{long}/{long} 600 = long\nbig 644 30000:40000 = x\np pipe",
        "t".repeat(150)
    );
    let expected = crate::support::show(&scratch.tree("in", &spec));
    for format in ["gnu", "posix", "oldgnu"] {
        let input = scratch.path("in");
        let archive =
            gnu_tar(&scratch, &[&format!("--format={format}"), "-C", input.to_str().unwrap(), "-cf", "-", "."]);
        let root = scratch.tree(format, "");
        apply(&root, &archive).unwrap();
        assert_eq!(crate::support::show(&root), expected, "{format}");
    }
}

fn add(
    scratch: &Scratch,
    base: &Dir,
    archive: &[u8],
    dest: &str,
    owner: Option<(u32, u32)>,
) -> Result<Dir, stave_tree::CopyError> {
    scratch.tree("context", "");
    std::fs::write(scratch.path("context/archive"), archive).unwrap();
    let now = Time { seconds: 4_000_000_000, nanoseconds: 0 };
    let context = Context::open(scratch.open("context"), None, HashMemory::empty(now));
    let below = layers(&[base]);
    let request = CopyRequest {
        parent: Some(&below),
        selections: vec![context.select(&["archive"]).unwrap().unpacking(true)],
        dest: dest.as_bytes(),
        dest_is_dir: dest.ends_with('/'),
        owner,
        mode: None,
        previous: None,
        format: format(),
    };
    let layer = scratch.tree("layer", "");
    copy_into(&request, &layer)?;
    Ok(merged(&[base, &layer], format()).unwrap())
}

/// A154, T128, T129, T130.
#[test]
fn added_archives_lie_on_the_image() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let base = scratch
        .tree("base", "run/ 711\nvar/run -> /run\nkept/ 700 3:4\nkept/old = 1\nfile = 2\ndir/x = 3\nlib = shared");
    let archive = tar("
        g comment=none
        f /var/run/x = 1
        f kept/new = 2
        d file
        f file/inner = 3
        f dir = 4
        f .wh.kept = no whiteout
        h second == lib
        l var/link -> ../run
        f var/link/y = 5
    ");
    let image = add(&scratch, &base, &archive, "/", None).unwrap();
    assert_tree(
        &image,
        ".wh.kept 644 = no whiteout
         dir 644 = 4
         file/ 755
         file/inner 644 = 3
         kept/ 700 3:4
         kept/new 644 = 2
         kept/old 644 = 1
         lib 644 = shared
         run/ 711
         run/x 644 = 1
         run/y 644 = 5
         second 644 = shared
         var/ 755
         var/link -> ../run
         var/run -> /run",
    );
}

/// A154: an archive made with `tar -C dir -c .` says something about its own root, which is not the image's.
#[test]
fn the_directory_that_an_archive_is_added_to_stays_as_it_is() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let base = scratch.tree("base", "old/ 711 3:4");
    let archive = tar("
        d ./ 700 5 6
        f ./f = 1
    ");
    for (dest, expected) in
        [("/old/", "old/ 711 3:4\n old/f 644 = 1"), ("/new/", "new/ 755\n new/f 644 = 1\n old/ 711 3:4")]
    {
        let image = add(&scratch, &base, &archive, dest, None).unwrap();
        assert_tree(&image, expected);
        std::fs::remove_dir_all(scratch.path("layer")).unwrap();
        std::fs::remove_dir_all(scratch.path("context")).unwrap();
    }
}

/// T122, T123, T131.
#[test]
fn added_archives_are_known_by_their_bytes() {
    if !is_root() {
        return;
    }
    let plain = tar("f a 640 5:6 = x");
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let bzip2 = {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let xz = {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    for archive in [plain.clone(), gzip.clone(), bzip2, xz, zstd] {
        let scratch = Scratch::new();
        let base = scratch.tree("base", "d/ 700");
        let image = add(&scratch, &base, &archive, "/d/new/", Some((1, 2))).unwrap();
        assert_tree(&image, "d/ 700\nd/new/ 755 1:2\nd/new/a 640 1:2 = x");
    }
    let scratch = Scratch::new();
    let base = scratch.tree("base", "");
    let image = add(&scratch, &base, b"no archive", "/d/", None).unwrap();
    assert_tree(&image, "d/ 755\nd/archive 644 = no archive");
    let truncated = Scratch::new();
    let base = truncated.tree("base", "");
    let error = add(&truncated, &base, &gzip[..gzip.len() - 20], "/d/", None);
    assert!(error.is_err(), "a broken archive is no file to be copied");
}

/// `umoci insert` writes such layers.
#[test]
fn an_archive_may_end_where_the_last_file_does() {
    let whole = tar("f a = 0123456789");
    let header = 512;
    let apply = |archive: &[u8]| {
        let scratch = Scratch::new();
        let layer = scratch.tree("layer", "");
        apply_layer(archive, &layer, format(), &Limits::default()).map(|_| show(&layer))
    };
    let expected = apply(&whole).expect("it is whole");
    assert_eq!(apply(&whole[..header + 10]).expect("nothing is missing"), expected);
    for length in [header - 1, header, header + 9, header + 11] {
        assert!(apply(&whole[..length]).is_err(), "{length} bytes");
    }
}

/// CVE-2021-20291: an error, within a moment.
#[test]
fn truncated_compression_is_an_error() {
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&bytes).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&bytes).unwrap();
    let streams = [gzip.finish().unwrap(), xz.finish().unwrap(), zstd::encode_all(&bytes[..], 1).unwrap()];
    for stream in streams {
        let mut out = Vec::new();
        assert!(std::io::Read::read_to_end(&mut decompress(&stream[..stream.len() / 2]).unwrap(), &mut out).is_err());
    }
}

#[test]
fn a_zstd_stream_with_a_huge_window_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(30).unwrap();
    encoder.write_all(&[7; 1000]).unwrap();
    let stream = encoder.finish().unwrap();
    let mut out = Vec::new();
    assert!(std::io::Read::read_to_end(&mut decompress(&stream[..]).unwrap(), &mut out).is_err());
}

/// Row 16: sizes beyond what octal digits hold, in both notations. Only the header is there.
#[test]
fn sizes_over_8_gib_are_read() {
    let size = 9_u64 << 30;
    let mut extended = Vec::new();
    pax(&mut extended, b'x', &format!("size={size}"));
    Raw::new("big", b'0').append(&mut extended);
    let mut binary = Vec::new();
    let mut raw = Raw::new("big", b'0');
    raw.size = Some(size);
    binary.extend_from_slice(&raw.header());
    for archive in [extended, binary] {
        let scratch = Scratch::new();
        let limits = Limits { bytes_max: size - 1, ..Limits::default() };
        let error = extract_archive(&archive[..], &scratch.tree("root", ""), None, &limits);
        assert!(matches!(error, Err(UnpackError::TooManyBytes(_))));
        assert_eq!(malformed(&archive), Some(Malformed::Truncated));
    }
}
