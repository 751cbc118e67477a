//! Walks over the files of an image and hands each that may describe packages to its reader.

use crate::elf::Elf;
use crate::files::{FileKind, Files, Opened};
use crate::limits::{BUILD_LIST_BYTES_MAX, DEPTH_MAX, DESCRIPTION_BYTES_MAX, ENTRIES_MAX, LIST_BYTES_MAX};
use crate::package::Inventory;
use crate::release::Distribution;
use crate::{apk, cargo, dpkg, golang, npm, python, rpm};

/// Finds all packages of an image. What cannot be read for what it is, is a note; only a failure of `files` is an error.
pub fn scan<F: Files>(files: &F) -> Result<Inventory, F::Error> {
    let mut scan = Scan { files, inventory: Inventory::default(), entries: 0 };
    let mut directories = vec![(Vec::new(), 0)];
    while let Some((directory, depth)) = directories.pop() {
        let mut entries = files.list(&directory)?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in entries {
            scan.entries += 1;
            if scan.entries > ENTRIES_MAX {
                scan.inventory.note(b"", &format!("is not listed whole: only {ENTRIES_MAX} files are looked at"));
                return Ok(scan.finish());
            }
            let path = joined(&directory, &entry.name);
            match entry.kind {
                FileKind::Directory if depth < DEPTH_MAX => directories.push((path, depth + 1)),
                FileKind::Directory => scan.inventory.note(&path, "is too deep to be looked at"),
                FileKind::File { size, executable } => scan.file(&path, size, executable)?,
                FileKind::Other => {}
            }
        }
    }
    Ok(scan.finish())
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

struct Scan<'a, F: Files> {
    files: &'a F,
    inventory: Inventory,
    entries: usize,
}

/// The directories in which rpm's database is.
const RPM_DIRECTORIES: [&[u8]; 2] = [b"var/lib/rpm", b"usr/lib/sysimage/rpm"];

impl<F: Files> Scan<'_, F> {
    fn finish(mut self) -> Inventory {
        // Directories are visited in an order of their own.
        self.inventory.notes.sort();
        self.inventory
    }

    fn file(&mut self, path: &[u8], size: u64, executable: bool) -> Result<(), F::Error> {
        let opened = Opened { files: self.files, path, size };
        match path {
            b"usr/lib/os-release" | b"etc/os-release" => self.release(&opened),
            b"var/lib/dpkg/status" => self.text(&opened, LIST_BYTES_MAX, dpkg_list),
            b"lib/apk/db/installed" | b"usr/lib/apk/db/installed" => self.text(&opened, LIST_BYTES_MAX, apk_list),
            path if path.starts_with(b"var/lib/dpkg/status.d/") && !path.ends_with(b".md5sums") => {
                self.text(&opened, DESCRIPTION_BYTES_MAX, dpkg_list)
            }
            path if rpm_file(path).is_some() => self.rpm(&opened),
            path if npm::is_description(path) => self.text(&opened, DESCRIPTION_BYTES_MAX, npm_description),
            path if python::is_description(path) => self.text(&opened, DESCRIPTION_BYTES_MAX, python_description),
            _ if executable => self.program(&opened),
            _ => Ok(()),
        }
    }

    fn release(&mut self, file: &Opened<'_, F>) -> Result<(), F::Error> {
        if let Some(bytes) = file.whole(DESCRIPTION_BYTES_MAX)? {
            let found = Distribution::parse(&String::from_utf8_lossy(&bytes));
            // `etc` has precedence, as the reference says.
            if !found.id.is_empty() && (self.inventory.distribution.id.is_empty() || file.path.starts_with(b"etc")) {
                self.inventory.distribution = found;
            }
        }
        Ok(())
    }

    fn text(
        &mut self,
        file: &Opened<'_, F>,
        limit: u64,
        read: fn(&mut Inventory, &[u8], &[u8]),
    ) -> Result<(), F::Error> {
        match file.whole(limit)? {
            Some(bytes) => read(&mut self.inventory, file.path, &bytes),
            None => self.inventory.note(file.path, &format!("is not read: it has more than {limit} bytes")),
        }
        Ok(())
    }

    fn rpm(&mut self, file: &Opened<'_, F>) -> Result<(), F::Error> {
        let mut found = Vec::new();
        let mut add = |package| found.push(package);
        let result = match rpm_file(file.path) {
            Some(b"rpmdb.sqlite") => rpm::read_sqlite(file, &mut add)?,
            Some(b"Packages.db") => rpm::read_ndb(file, &mut add)?,
            Some(b"Packages") => rpm::read_berkeley(file, &mut add)?,
            _ => {
                if file.size > 0 {
                    self.inventory
                        .note(file.path, "is not read: changes of rpm's database that were not joined with it");
                }
                Ok(())
            }
        };
        for package in found {
            self.inventory.add(package, file.path);
        }
        if result.is_err() {
            self.inventory.note(file.path, "is not read whole: it is no sound database of rpm");
        }
        Ok(())
    }

    fn program(&mut self, file: &Opened<'_, F>) -> Result<(), F::Error> {
        let Some(elf) = Elf::read(file)? else { return Ok(()) };
        if let Some(info) = golang::read(file, &elf)? {
            golang::modules(&info, |package| self.inventory.add(package, file.path));
        }
        let Some(part) = elf.section(b".dep-v0") else { return Ok(()) };
        let length = usize::try_from(part.size).ok().filter(|length| *length as u64 <= BUILD_LIST_BYTES_MAX);
        let section = length.map(|length| file.exactly(part.offset, length)).transpose()?.flatten();
        let read = section.and_then(|section| cargo::read(&section, |package| self.inventory.add(package, file.path)));
        if read.is_none() {
            self.inventory.note(file.path, "has a list of crates that cannot be read");
        }
        Ok(())
    }
}

/// Returns the name of a file of rpm's database, if the path is one.
fn rpm_file(path: &[u8]) -> Option<&[u8]> {
    let names: [&[u8]; 4] = [b"rpmdb.sqlite", b"Packages.db", b"Packages", b"rpmdb.sqlite-wal"];
    RPM_DIRECTORIES.iter().find_map(|directory| {
        let name = path.strip_prefix(*directory)?.strip_prefix(b"/")?;
        names.contains(&name).then_some(name)
    })
}

fn dpkg_list(inventory: &mut Inventory, path: &[u8], bytes: &[u8]) {
    dpkg::read(&String::from_utf8_lossy(bytes), |package| inventory.add(package, path));
}

fn apk_list(inventory: &mut Inventory, path: &[u8], bytes: &[u8]) {
    apk::read(&String::from_utf8_lossy(bytes), |package| inventory.add(package, path));
}

fn npm_description(inventory: &mut Inventory, path: &[u8], bytes: &[u8]) {
    match npm::read(bytes) {
        Some(package) => inventory.add(package, path),
        None => inventory.note(path, "is not read: it describes no package"),
    }
}

fn python_description(inventory: &mut Inventory, path: &[u8], bytes: &[u8]) {
    match python::read(&String::from_utf8_lossy(bytes)) {
        Some(package) => inventory.add(package, path),
        None => inventory.note(path, "is not read: it describes no package"),
    }
}
