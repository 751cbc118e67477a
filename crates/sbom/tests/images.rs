//! Whole images in memory: what is found in them, and that nothing in them does harm.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "SQLite itself writes the database that is read")]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::Write as _;

use proptest::prelude::*;
use stave_oci::BlobDigest;
use stave_sbom::{
    CycloneVersion, FileEntry, FileKind, Files, Inventory, Subject, cyclonedx, purl, scan, spdx, spdx_bytes,
};

const BERKELEY: &[u8] = include_bytes!("../test_data/rpm/Packages.little");

/// An image whose files are here.
#[derive(Default)]
struct Image(BTreeMap<Vec<u8>, Vec<u8>>);

impl Image {
    fn file(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.0.insert(path.as_bytes().to_vec(), bytes.as_ref().to_vec());
        self
    }
}

impl Files for Image {
    type Error = Infallible;

    fn list(&self, directory: &[u8]) -> Result<Vec<FileEntry>, Infallible> {
        let start = if directory.is_empty() { Vec::new() } else { [directory, b"/"].concat() };
        let mut names = BTreeMap::new();
        for (path, bytes) in &self.0 {
            let Some(rest) = path.strip_prefix(start.as_slice()) else { continue };
            match rest.iter().position(|&byte| byte == b'/') {
                Some(end) => names.insert(rest[..end].to_vec(), FileKind::Directory),
                None => names.insert(rest.to_vec(), FileKind::File { size: bytes.len() as u64, executable: true }),
            };
        }
        Ok(names.into_iter().map(|(name, kind)| FileEntry { name, kind }).collect())
    }

    fn read(&self, path: &[u8], offset: u64, length: usize) -> Result<Vec<u8>, Infallible> {
        let bytes = &self.0[path];
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        Ok(bytes[start..start.saturating_add(length).min(bytes.len())].to_vec())
    }
}

fn found(image: &Image) -> Inventory {
    scan(image).unwrap()
}

fn purls(inventory: &Inventory) -> Vec<String> {
    inventory.packages.keys().map(|package| purl(package, &inventory.distribution)).collect()
}

fn subject() -> Subject {
    Subject {
        name: "app".into(),
        digest: BlobDigest::of(b"manifest"),
        created: "1970-01-01T00:00:00Z".into(),
        tool: ("stave".into(), "0".into()),
    }
}

/// Returns a program of 64 bits with these sections.
fn program(sections: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut names = vec![0_u8];
    let mut body = Vec::new();
    let mut table = vec![0_u8; 64];
    let mut entry = |name: usize, offset: usize, size: usize| {
        let mut row = vec![0_u8; 64];
        row[..4].copy_from_slice(&u32::try_from(name).unwrap().to_le_bytes());
        row[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        row[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        table.extend(row);
    };
    for (name, bytes) in sections {
        entry(names.len(), 64 + body.len(), bytes.len());
        names.extend(name.as_bytes());
        names.push(0);
        body.extend(bytes);
    }
    let at = names.len();
    names.extend(b".shstrtab\0");
    entry(at, 64 + body.len(), names.len());
    body.extend(&names);
    let mut head = vec![0_u8; 64];
    head[..6].copy_from_slice(b"\x7fELF\x02\x01");
    head[40..48].copy_from_slice(&((64 + body.len()) as u64).to_le_bytes());
    head[58..60].copy_from_slice(&64_u16.to_le_bytes());
    head[60..62].copy_from_slice(&u16::try_from(sections.len() + 2).unwrap().to_le_bytes());
    head[62..64].copy_from_slice(&u16::try_from(sections.len() + 1).unwrap().to_le_bytes());
    [head, body, table].concat()
}

fn go_build_info() -> Vec<u8> {
    let modules = "path\tx/cmd\nmod\tx.org/app\tv1.2.3\nbuild\t-compiler=gc\ndep\tgithub.com/a/b\tv0.1.0\th1:x\n";
    let modules = [[0_u8; 16].as_slice(), modules.as_bytes(), &[0_u8; 16]].concat();
    let mut bytes = [b"\xff Go buildinf:".as_slice(), &[8, 2], &[0; 16]].concat();
    bytes.push(8);
    bytes.extend(b"go1.22.1");
    let length = modules.len();
    bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
    bytes.push(u8::try_from(length >> 7).unwrap());
    bytes.extend(modules);
    bytes
}

fn crates() -> Vec<u8> {
    let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    let text = r#"{"packages":[{"name":"cc","version":"1.0.0","source":"crates.io","kind":"build"},
        {"name":"serde","version":"1.0.2","source":"crates.io"}]}"#;
    writer.write_all(text.as_bytes()).unwrap();
    writer.finish().unwrap()
}

/// Returns the header of a package as rpm keeps it.
fn rpm_header(texts: &[(u32, &str)], epoch: Option<u32>) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    let mut entry = |tag: u32, kind: u32, bytes: &[u8]| {
        for number in [tag, kind, u32::try_from(data.len()).unwrap(), 1] {
            index.extend(number.to_be_bytes());
        }
        data.extend(bytes);
    };
    if let Some(epoch) = epoch {
        entry(1003, 4, &epoch.to_be_bytes());
    }
    for (tag, text) in texts {
        entry(*tag, 6, &[text.as_bytes(), b"\0"].concat());
    }
    let entries = u32::try_from(index.len() / 16).unwrap();
    let length = u32::try_from(data.len()).unwrap();
    [entries.to_be_bytes().to_vec(), length.to_be_bytes().to_vec(), index, data].concat()
}

fn bash_header() -> Vec<u8> {
    let long = "x".repeat(20_000);
    rpm_header(
        &[(1005, &long), (1000, "bash"), (1001, "5.2"), (1002, "1.fc40"), (1014, "GPL-3.0-or-later"), (1022, "x86_64")],
        Some(2),
    )
}

fn rpm_sqlite(packages: usize) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rpmdb.sqlite");
    let database = rusqlite::Connection::open(&path).unwrap();
    database
        .execute_batch(
            "CREATE TABLE 'Basenames' (hnum INTEGER); \
             CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL);",
        )
        .unwrap();
    database.execute("INSERT INTO Packages(blob) VALUES (?)", [bash_header()]).unwrap();
    for number in 1..packages {
        let name = format!("p{number}");
        let header = rpm_header(&[(1000, &name), (1001, "1"), (1002, "1")], None);
        database.execute("INSERT INTO Packages(blob) VALUES (?)", [header]).unwrap();
    }
    database.close().unwrap();
    std::fs::read(path).unwrap()
}

fn rpm_ndb() -> Vec<u8> {
    let header = bash_header();
    let mut bytes = vec![0_u8; 4096];
    bytes[..4].copy_from_slice(b"RpmP");
    bytes[12] = 1;
    bytes[32..36].copy_from_slice(b"Slot");
    bytes[36] = 1;
    bytes[40..44].copy_from_slice(&(4096_u32 / 16).to_le_bytes());
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    bytes.extend([b"BlbS".as_slice(), &1_u32.to_le_bytes(), &1_u32.to_le_bytes(), &length].concat());
    bytes.extend(header);
    bytes
}

fn everything() -> Image {
    let release = "ID=debian\nVERSION_ID=\"12\"\n";
    Image::default()
        .file("usr/lib/os-release", release)
        .file("var/lib/dpkg/status", "Package: curl\nStatus: install ok installed\nVersion: 7-1\nArchitecture: amd64\n")
        .file("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2024a\n")
        .file("var/lib/dpkg/status.d/tzdata.md5sums", "Package: no\n")
        .file("lib/apk/db/installed", "P:musl\nV:1.2\nL:MIT\n")
        .file("usr/lib/sysimage/rpm/rpmdb.sqlite", rpm_sqlite(1))
        .file("app/node_modules/@s/a/package.json", r#"{"name":"@s/a","version":"1.0.0","license":"Custom Thing"}"#)
        .file("usr/lib/python3/x-1.dist-info/METADATA", "Name: x\nVersion: 1\n")
        .file("bin/go", program(&[(".text", vec![1; 100]), (".go.buildinfo", go_build_info())]))
        .file("bin/rust", program(&[(".dep-v0", crates())]))
}

#[test]
fn every_ecosystem_is_found() {
    let inventory = found(&everything());
    assert_eq!(inventory.notes, Vec::<String>::new());
    assert_eq!(
        purls(&inventory),
        [
            "pkg:deb/debian/curl@7-1?arch=amd64&distro=debian-12",
            "pkg:deb/debian/tzdata@2024a?distro=debian-12",
            "pkg:apk/debian/musl@1.2?distro=debian-12",
            "pkg:rpm/debian/bash@5.2-1.fc40?arch=x86_64&distro=debian-12&epoch=2",
            "pkg:golang/github.com/a/b@v0.1.0",
            "pkg:golang/stdlib@1.22.1",
            "pkg:golang/x.org/app@v1.2.3",
            "pkg:npm/%40s/a@1.0.0",
            "pkg:pypi/x@1",
            "pkg:cargo/serde@1.0.2",
        ]
    );
}

#[test]
fn a_database_of_rpm_is_read_in_both_of_its_forms_and_over_many_pages() {
    let many = Image::default().file("var/lib/rpm/rpmdb.sqlite", rpm_sqlite(3000));
    let inventory = found(&many);
    assert_eq!((inventory.packages.len(), inventory.notes), (3000, Vec::new()));
    let inventory = found(&Image::default().file("var/lib/rpm/Packages.db", rpm_ndb()));
    assert_eq!(purls(&inventory), ["pkg:rpm/bash@5.2-1.fc40?arch=x86_64&epoch=2"]);
    // Made by Berkeley DB 5.3 itself, with numbers in either order; one header has pages of its own.
    for table in [BERKELEY, include_bytes!("../test_data/rpm/Packages.big").as_slice()] {
        let inventory = found(&Image::default().file("var/lib/rpm/Packages", table));
        assert_eq!(
            (purls(&inventory), &inventory.notes),
            (
                vec![
                    "pkg:rpm/bash@4.2.46-35.el7?arch=x86_64".to_owned(),
                    "pkg:rpm/bind-libs@9.11.4-26.el7?arch=x86_64&epoch=32".to_owned(),
                    "pkg:rpm/tzdata@2023c-1.el7?arch=noarch".to_owned(),
                ],
                &Vec::new()
            )
        );
        let mut sources = inventory.packages.keys().filter_map(|package| package.source.as_deref());
        assert!(sources.any(|source| source == "bind-9.11.4-26.el7.src.rpm"));
    }
    let inventory = found(&Image::default().file("var/lib/rpm/Packages", b"x"));
    assert!(inventory.notes[0].contains("no sound database"), "{:?}", inventory.notes);
}

#[test]
fn what_cannot_be_read_is_a_note_in_both_documents() {
    let image = Image::default()
        .file("var/lib/rpm/rpmdb.sqlite", "no database")
        .file("a/node_modules/b/package.json", "{")
        .file("bin/x", program(&[(".dep-v0", b"no zlib".to_vec())]));
    let inventory = found(&image);
    assert_eq!(inventory.notes.len(), 3, "{:?}", inventory.notes);
    let (spdx, cyclone) = (spdx(&subject(), &inventory), cyclonedx(&subject(), &inventory, CycloneVersion::V1_6));
    for note in &inventory.notes {
        assert!(spdx["comment"].as_str().unwrap().contains(note));
        assert!(cyclone["metadata"]["properties"].to_string().contains(note));
    }
}

#[test]
fn a_document_names_each_package_once_and_each_name_is_its_own() {
    let inventory = found(&everything());
    let document = spdx(&subject(), &inventory);
    let packages = document["packages"].as_array().unwrap();
    assert_eq!(packages.len(), inventory.packages.len() + 1);
    let ids: BTreeSet<&str> = packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), packages.len());
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || ".-".contains(letter);
    assert!(ids.iter().all(|id| id.starts_with("SPDXRef-") && id.chars().all(allowed)), "{ids:?}");
    let named = document["hasExtractedLicensingInfos"][0]["extractedText"].as_str();
    assert_eq!(named, Some("Custom Thing"));
    for relationship in document["relationships"].as_array().unwrap() {
        assert!(ids.contains(relationship["relatedSpdxElement"].as_str().unwrap()));
    }
    let cyclone = cyclonedx(&subject(), &inventory, CycloneVersion::V1_5);
    assert_eq!(cyclone["components"].as_array().unwrap().len(), packages.len());
    assert_eq!(cyclone["specVersion"], "1.5");
}

#[test]
fn the_same_image_gives_the_same_bytes_and_another_image_another_name() {
    let bytes = |image: &Image| spdx_bytes(&spdx(&subject(), &found(image)));
    assert_eq!(bytes(&everything()), bytes(&everything()));
    let namespace = |image: &Image| spdx(&subject(), &found(image))["documentNamespace"].to_string();
    assert_ne!(namespace(&everything()), namespace(&Image::default()));
    assert!(namespace(&Image::default()).starts_with("\"urn:uuid:"));
}

#[test]
fn more_than_an_image_can_have_is_left_out_with_a_note() {
    let name = "n".repeat(600);
    let inventory = found(&Image::default().file("lib/apk/db/installed", format!("P:{name}\nV:1\n")));
    assert!(inventory.packages.is_empty() && inventory.notes[0].contains("cannot be one"));
    let deep = vec!["d"; 300].join("/");
    let inventory = found(&Image::default().file(&format!("{deep}/x"), ""));
    assert!(inventory.notes[0].contains("too deep"), "{:?}", inventory.notes);
}

/// Paths that have readers.
const PATHS: [&str; 11] = [
    "usr/lib/os-release",
    "var/lib/dpkg/status",
    "lib/apk/db/installed",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/Packages",
    "x/node_modules/a/package.json",
    "x/a.dist-info/METADATA",
    "bin/go",
    "bin/rust",
    "bin/old",
];

fn sound(path: &str) -> Vec<u8> {
    match path {
        "var/lib/rpm/rpmdb.sqlite" => rpm_sqlite(60),
        "var/lib/rpm/Packages.db" => rpm_ndb(),
        "var/lib/rpm/Packages" => BERKELEY.to_vec(),
        "bin/go" => program(&[(".go.buildinfo", go_build_info())]),
        "bin/rust" => program(&[(".dep-v0", crates())]),
        path => everything().0.get(path.as_bytes()).cloned().unwrap_or_default(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever bytes a file has, it is read, or noted, and the documents can be written.
    #[test]
    fn no_bytes_do_harm(path in prop::sample::select(&PATHS[..]), bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let inventory = found(&Image::default().file(path, bytes));
        prop_assert!(spdx(&subject(), &inventory).is_object());
    }

    /// A sound file of which some bytes were changed, or the end is missing, does no harm either.
    #[test]
    fn no_change_of_a_sound_file_does_harm(
        path in prop::sample::select(&PATHS[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        in_head in prop::collection::vec((0_usize..200, any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = sound(path);
        for (index, value) in changes {
            if !bytes.is_empty() {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
        }
        for (at, value) in in_head {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if cut && !bytes.is_empty() {
            bytes.truncate(end.index(bytes.len()));
        }
        let inventory = found(&Image::default().file(path, bytes));
        prop_assert!(cyclonedx(&subject(), &inventory, CycloneVersion::V1_6).is_object());
    }

    /// A text of any shape gives names without control characters.
    #[test]
    fn names_have_no_control_characters(text in "(P:|V:|L:|Package: |Name: |\u{1b}|[a-z]|\n| ){0,80}") {
        for path in ["lib/apk/db/installed", "var/lib/dpkg/status", "x/a.egg-info"] {
            let inventory = found(&Image::default().file(path, &text));
            for package in inventory.packages.keys() {
                prop_assert!(!package.name.chars().any(char::is_control));
                prop_assert!(!package.name.is_empty());
            }
        }
    }
}
