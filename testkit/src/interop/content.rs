//! An archive with every kind of file that a layer can hold, at the edges of what formats can say.

use std::io::Write as _;

/// Bytes of a file most of which is a hole.
const SPARSE_BYTES: usize = 3 * 1024 * 1024;

/// Returns a tar with the directory `all`: links, a hole, devices, a pipe, attributes and capabilities, large owners,
/// names of bytes and of 255 of them, times before 1970 and after 2038.
pub(super) fn everything() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add =
        |path: &[u8], kind: tar::EntryType, set: &dyn Fn(&mut tar::Header), pax: &[(&str, &[u8])], data: &[u8]| {
            if !pax.is_empty() {
                tar.append_pax_extensions(pax.iter().copied()).expect("memory can be written");
            }
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1_600_000_000);
            header.set_size(data.len() as u64);
            set(&mut header);
            let path = std::path::PathBuf::from(std::ffi::OsString::from(
                <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path),
            ));
            tar.append_data(&mut header, path, data).expect("memory can be written");
        };
    let (file, dir) = (tar::EntryType::Regular, tar::EntryType::Directory);
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut sparse = vec![0; SPARSE_BYTES];
    sparse[SPARSE_BYTES - 5..].copy_from_slice(b"ends\n");
    add(b"all/", dir, &|header| header.set_mode(0o1777), &[], b"");
    add(b"all/plain", file, &|_| {}, &[], b"hello\n");
    add(b"all/setuid", file, &|header| header.set_mode(0o6755), &[], b"x");
    add(b"all/large-owner", file, &|_| {}, &[("uid", b"3000000"), ("gid", b"70000")], b"x");
    add(b"all/old", file, &|_| {}, &[("mtime", b"-86400")], b"x");
    add(b"all/new", file, &|_| {}, &[("mtime", b"4102444800")], b"x");
    add(b"all/note", file, &|_| {}, &[("SCHILY.xattr.user.note", b"a=\nb")], b"x");
    add(
        b"all/capable",
        file,
        &|header| header.set_mode(0o755),
        &[("SCHILY.xattr.security.capability", &capability)],
        b"x",
    );
    add(b"all/sparse", file, &|_| {}, &[], &sparse);
    add(b"all/name-\xff\xfe", file, &|_| {}, &[], b"bytes");
    add(&[b"all/".as_slice(), &[b'n'; 255]].concat(), file, &|_| {}, &[], b"long");
    add(b"all/pipe", tar::EntryType::Fifo, &|_| {}, &[], b"");
    let device = |major, minor| {
        move |header: &mut tar::Header| {
            header.set_device_major(major).expect("a GNU header has devices");
            header.set_device_minor(minor).expect("a GNU header has devices");
        }
    };
    add(b"all/char", tar::EntryType::Char, &device(1, 3), &[], b"");
    add(b"all/block", tar::EntryType::Block, &device(7, 0), &[], b"");
    let link = |tar: &mut tar::Builder<Vec<u8>>, path: &str, kind, to: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        // Of one file there is one mode, whichever of its names says so.
        header.set_mode(if kind == tar::EntryType::Link { 0o644 } else { 0o777 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(0);
        tar.append_link(&mut header, path, to).expect("memory can be written");
    };
    link(&mut tar, "all/hard", tar::EntryType::Link, "all/plain");
    link(&mut tar, "all/soft", tar::EntryType::Symlink, "plain");
    link(&mut tar, "all/dangling", tar::EntryType::Symlink, "/nowhere");
    let mut bytes = tar.into_inner().expect("memory can be written");
    bytes.flush().expect("memory can be written");
    bytes
}

/// Prints what a program in the image sees of the files, in the base and as added by a step: names, types, modes, owners,
/// times, devices, links and the content of each file. A time to come is kept in a base only: what a step brings is no
/// younger than the image.
pub(super) const LOOK: &str = "#!/bin/sh\n\
    look() { xargs -0 stat -c '%n %f %u %g %h %t:%T %Y'; }\n\
    cd /all && find . -print0 | sort -z | look\n\
    cd /added/all && find . ! -name new -print0 | sort -z | look\n\
    cd / && find all added/all -type l -print0 | sort -z | xargs -0 -n1 readlink\n\
    find all added/all -type f -print0 | sort -z | xargs -0 sha256sum\n";
