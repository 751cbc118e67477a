//! Archives that begin like earlier ones.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use stave_tree::pack::{Mark, Resumable, pack_layer_resumed};
use stave_tree::{Dir, pack_layer};

use crate::support::{Scratch, format};

/// Keeps all bytes of an archive, and at each mark those before it.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    marks: BTreeMap<[u8; 32], Vec<u8>>,
    written: usize,
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Resumable for Memory {
    fn resume(&mut self, prefix: &[u8; 32]) -> Option<u64> {
        let known = self.marks.get(prefix)?;
        assert_eq!(self.written, 0);
        self.bytes.clone_from(known);
        Some(known.len() as u64)
    }

    fn pass(&mut self, mark: &Mark) -> io::Result<()> {
        assert_eq!(self.bytes.len() as u64, mark.bytes);
        self.marks.insert(mark.prefix, self.bytes.clone());
        Ok(())
    }
}

/// Packs `layer` for a receiver who knows `marks`. Returns it, its archive compared with that of a plain packing.
fn resumed(layer: &Dir, marks: &BTreeMap<[u8; 32], Vec<u8>>) -> Memory {
    let mut whole = Vec::new();
    let packed = pack_layer(layer, format(), stave_tree::Times::Clamped(1_000), &mut whole).expect("it is packed");
    let mut memory = Memory { marks: marks.clone(), ..Memory::default() };
    let again =
        pack_layer_resumed(layer, format(), stave_tree::Times::Clamped(1_000), &mut memory).expect("it is packed");
    assert_eq!(again, packed);
    assert!(memory.bytes == whole, "both archives are the same");
    memory
}

const DIRS: usize = 6;
const FILES: usize = 5;
const FILE_BYTES: usize = 700_000;

fn make(root: &Path) {
    for dir in 0..DIRS {
        let dir = root.join(format!("d{dir}"));
        std::fs::create_dir(&dir).expect("it is made");
        for file in 0..FILES {
            let byte = u8::try_from(file).expect("there are few");
            std::fs::write(dir.join(format!("f{file}")), vec![byte; FILE_BYTES + file]).expect("it is written");
        }
    }
}

/// Makes `to` a tree of links to the files of `from`, with the directories' times.
fn link(from: &Path, to: &Path) {
    for dir in 0..DIRS {
        let name = format!("d{dir}");
        std::fs::create_dir(to.join(&name)).expect("it is made");
        for file in 0..FILES {
            let file = format!("{name}/f{file}");
            std::fs::hard_link(from.join(&file), to.join(&file)).expect("it is linked");
        }
    }
}

/// Writes `content` to a new inode under an old name, as a changed copy does.
fn replace(path: &Path, content: &[u8]) {
    std::fs::remove_file(path).expect("it is removed");
    std::fs::write(path, content).expect("it is written");
}

#[test]
fn an_archive_that_begins_like_another_is_the_same_as_if_it_were_packed_whole() {
    type Edit = fn(&Path);
    let edits: &[(&str, Edit)] = &[
        ("nothing", |_| {}),
        ("first file", |root| replace(&root.join("d0/f0"), b"new")),
        ("file in the middle", |root| replace(&root.join("d3/f2"), &vec![9; FILE_BYTES + 2])),
        ("last file", |root| replace(&root.join("d5/f4"), b"new")),
        ("file removed", |root| std::fs::remove_file(root.join("d2/f1")).expect("it is removed")),
        ("file added", |root| std::fs::write(root.join("d2/f00"), b"x").expect("it is written")),
        ("file renamed", |root| std::fs::rename(root.join("d4/f1"), root.join("d4/g1")).expect("it is renamed")),
        ("two files exchanged", |root| {
            std::fs::rename(root.join("d4/f1"), root.join("t")).expect("it is renamed");
            std::fs::rename(root.join("d4/f2"), root.join("d4/f1")).expect("it is renamed");
            std::fs::rename(root.join("t"), root.join("d4/f2")).expect("it is renamed");
        }),
        ("second name", |root| {
            std::fs::hard_link(root.join("d3/f0"), root.join("d3/f01")).expect("it is linked");
        }),
        ("link in its place", |root| {
            std::fs::remove_file(root.join("d3/f3")).expect("it is removed");
            std::os::unix::fs::symlink("f2", root.join("d3/f3")).expect("it is linked");
        }),
        ("directory removed", |root| std::fs::remove_dir_all(root.join("d1")).expect("it is removed")),
    ];
    let scratch = Scratch::new();
    let first = scratch.tree("first", "");
    make(&scratch.path("first"));
    let known = resumed(&first, &BTreeMap::new());
    assert!(known.marks.len() >= 3, "an archive of {} bytes has marks", known.bytes.len());
    for (index, (what, edit)) in edits.iter().enumerate() {
        let name = format!("edit{index}");
        let layer = scratch.tree(&name, "");
        link(&scratch.path("first"), &scratch.path(&name));
        edit(&scratch.path(&name));
        let memory = resumed(&layer, &known.marks);
        println!("{what}: {} of {} bytes written", memory.written, memory.bytes.len());
        if *what == "nothing" {
            assert!(memory.written < 8 * FILE_BYTES, "{} bytes were written again", memory.written);
        }
        // What it learned is as good for the next.
        assert_eq!(resumed(&layer, &memory.marks).bytes.len(), memory.bytes.len());
    }
}

#[test]
fn the_same_names_with_other_inodes_are_read() {
    let scratch = Scratch::new();
    let first = scratch.tree("first", "");
    make(&scratch.path("first"));
    let known = resumed(&first, &BTreeMap::new());
    let other = scratch.tree("other", "");
    make(&scratch.path("other"));
    // Each file has two names, as a link to an earlier layer's would have.
    scratch.tree("third", "");
    link(&scratch.path("other"), &scratch.path("third"));
    let memory = resumed(&other, &known.marks);
    assert_eq!(memory.written, memory.bytes.len(), "nothing of it was taken for known");
}

#[test]
fn a_changed_mode_is_seen_where_only_contents_are_known() {
    let scratch = Scratch::new();
    let first = scratch.tree("first", "");
    make(&scratch.path("first"));
    let known = resumed(&first, &BTreeMap::new());
    let before = known.bytes.clone();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(scratch.path("first").join("d0/f1"), mode).expect("it is changed");
    assert!(resumed(&first, &known.marks).bytes != before);
}
