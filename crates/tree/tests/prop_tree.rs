//! Laws of trees, tried on random ones.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on has failed, or says why")]

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;
use stave_tree::{
    Context, CopyRequest, Dir, Follow, HashMemory, Kind, LayerFormat, Layers, Limits, Metadata, Selection, Time,
    apply_layer, copy_into, layer_digest, merged, pack_layer, select,
};

/// How layers note things where this test runs.
fn format() -> LayerFormat {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    LayerFormat { userxattr: map.split_whitespace().last() != Some("4294967295") }
}

/// A tree as a map from paths to what is there; parents come before children.
type Model = BTreeMap<String, Item>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Directory(u32),
    File(u32, Vec<u8>),
    Link(String),
    Whiteout,
}

fn item(with_whiteouts: bool) -> impl Strategy<Value = Item> {
    let mode = prop_oneof![Just(0o644_u32), Just(0o755), Just(0o600), Just(0o4711)];
    let whiteouts = u32::from(with_whiteouts);
    prop_oneof![
        3 => Just(Item::Directory(0o755)),
        1 => Just(Item::Directory(0o1770)),
        4 => (mode, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(mode, bytes)| Item::File(mode, bytes)),
        1 => "[abc/.]{1,6}".prop_map(Item::Link),
        whiteouts => Just(Item::Whiteout),
    ]
}

/// Random trees over few names, so that two of them meet often.
fn model(with_whiteouts: bool) -> impl Strategy<Value = Model> {
    let path = prop::collection::vec("[abc]", 1..4).prop_map(|names| names.join("/"));
    prop::collection::vec((path, item(with_whiteouts)), 0..14).prop_map(|items| {
        let mut model = Model::new();
        for (path, item) in items {
            let mut parents: Vec<&str> = path.match_indices('/').map(|(index, _)| &path[..index]).collect();
            parents.retain(|parent| !matches!(model.get(*parent), Some(Item::Directory(_))));
            let blocked = parents.iter().any(|parent| model.contains_key(*parent)) || model.contains_key(&path);
            if !blocked {
                for parent in parents {
                    model.insert(parent.to_owned(), Item::Directory(0o755));
                }
                model.insert(path, item);
            }
        }
        model
    })
}

fn write(root: &Path, model: &Model) {
    std::fs::create_dir_all(root).unwrap();
    for (path, item) in model {
        let path = root.join(path);
        match item {
            Item::Directory(_) => std::fs::create_dir(&path).unwrap(),
            Item::File(_, bytes) => std::fs::write(&path, bytes).unwrap(),
            Item::Link(target) => symlink(target, &path).unwrap(),
            Item::Whiteout => rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::CharacterDevice,
                rustix::fs::Mode::empty(),
                0,
            )
            .unwrap(),
        }
        if let Item::Directory(mode) | Item::File(mode, _) = item {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
        }
    }
}

fn read(dir: &Dir) -> Model {
    fn into(dir: &Dir, path: &str, model: &mut Model) {
        for entry in dir.list(path.as_bytes()).unwrap() {
            let name = format!("{path}{}", String::from_utf8(entry.name).unwrap());
            let item = match entry.metadata.kind {
                Kind::Directory => Item::Directory(entry.metadata.mode),
                Kind::Link => Item::Link(String::from_utf8(dir.read_link(name.as_bytes()).unwrap()).unwrap()),
                Kind::File => Item::File(entry.metadata.mode, dir.read_file(name.as_bytes(), 1000).unwrap()),
                _ => Item::Whiteout,
            };
            let is_directory = matches!(item, Item::Directory(_));
            model.insert(name.clone(), item);
            if is_directory {
                into(dir, &format!("{name}/"), model);
            }
        }
    }
    let mut model = Model::new();
    into(dir, "", &mut model);
    model
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root, or a user namespace in which it is root");
    }
    root
}

fn dir(path: &Path) -> Dir {
    std::fs::create_dir_all(path).unwrap();
    Dir::open_ambient(path).unwrap()
}

fn selection(root: &Path) -> Selection {
    let now = Time { seconds: 4_000_000_000, nanoseconds: 0 };
    Context::open(dir(root), None, HashMemory::empty(now)).select(&["."]).unwrap()
}

/// What `COPY . /dest/` makes of an image, worked out on maps. Nothing if it must fail.
fn copied(image: &Model, context: &Model, dest: &str) -> Option<Model> {
    let mut result = image.clone();
    match result.get(dest) {
        None => drop(result.insert(dest.to_owned(), Item::Directory(0o755))),
        Some(Item::Directory(_)) => {}
        Some(_) => return None,
    }
    for (path, item) in context {
        let path = format!("{dest}/{path}");
        match (result.get(&path), item) {
            // A directory of the source gives its mode to one that exists.
            (Some(Item::Directory(_)), Item::Directory(_)) => drop(result.insert(path, item.clone())),
            (Some(Item::Directory(_)), _) | (Some(_), Item::Directory(_)) => return None,
            (_, item) => drop(result.insert(path, item.clone())),
        }
    }
    Some(result)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// An archive holds all of a layer: applying what was packed gives the layer again, and packing that the same bytes.
    #[test]
    fn applying_is_the_inverse_of_packing(layer in model(true)) {
        if !is_root() {
            return Ok(());
        }
        let temporary = tempfile::tempdir().unwrap();
        write(&temporary.path().join("layer"), &layer);
        let packed = dir(&temporary.path().join("layer"));
        let mut archive = Vec::new();
        pack_layer(&packed, format(), stave_tree::Times::Real, &mut archive).unwrap();
        let again = dir(&temporary.path().join("again"));
        apply_layer(&archive[..], &again, format(), &Limits::default()).unwrap();
        prop_assert_eq!(read(&again), layer);
        prop_assert_eq!(layer_digest(&again, format()).unwrap(), layer_digest(&packed, format()).unwrap());
        let mut second = Vec::new();
        pack_layer(&again, format(), stave_tree::Times::Real, &mut second).unwrap();
        prop_assert!(second == archive);
    }

    /// Two trees have the same digest exactly if they are the same.
    #[test]
    fn a_digest_is_the_trees_identity(one in model(false), other in model(false)) {
        let temporary = tempfile::tempdir().unwrap();
        let digest = |name: &str, model: &Model| {
            let path = temporary.path().join(name);
            write(&path, model);
            selection(&path).digest().unwrap()
        };
        let (first, second) = (digest("one", &one), digest("other", &other));
        prop_assert_eq!(first == second, one == other);
        prop_assert_eq!(digest("same", &one), first);
    }

    /// Copying onto an image gives what the rules of `COPY` say, worked out on maps.
    #[test]
    fn copying_is_what_the_model_says(image in model(false), context in model(false)) {
        if !is_root() {
            return Ok(());
        }
        let mut image = image;
        // Links at and below the destination are another test's matter: here the map is the truth.
        image.retain(|_, item| !matches!(item, Item::Link(_)));
        let temporary = tempfile::tempdir().unwrap();
        write(&temporary.path().join("base"), &image);
        write(&temporary.path().join("context"), &context);
        let (base, layer) = (dir(&temporary.path().join("base")), dir(&temporary.path().join("layer")));
        let below = Layers::new(vec![base.try_clone().unwrap()], format());
        let request = CopyRequest {
            parent: Some(&below),
            selections: vec![selection(&temporary.path().join("context"))],
            dest: b"/a",
            dest_is_dir: true,
            owner: None,
            mode: None,
            previous: None,
            format: format(),
        };
        let result = copy_into(&request, &layer);
        match copied(&image, &context, "a") {
            None => prop_assert!(result.is_err()),
            Some(expected) => {
                prop_assert!(result.is_ok(), "{:?}", result);
                prop_assert_eq!(read(&merged(&[&base, &layer], format()).unwrap()), expected);
            }
        }
    }

    /// A tree that is copied from a view is the same tree.
    #[test]
    fn copying_a_tree_keeps_it(tree in model(false)) {
        if !is_root() {
            return Ok(());
        }
        let temporary = tempfile::tempdir().unwrap();
        write(&temporary.path().join("base"), &tree);
        let base = dir(&temporary.path().join("base"));
        let layer = dir(&temporary.path().join("layer"));
        let request = CopyRequest {
            parent: None,
            selections: vec![select(&Layers::new(vec![base], format()), &["/"]).unwrap()],
            dest: b"/",
            dest_is_dir: true,
            owner: None,
            mode: None,
            previous: None,
            format: format(),
        };
        copy_into(&request, &layer).unwrap();
        prop_assert_eq!(read(&layer), tree);
    }
    /// Looking into layers one by one gives what overlayfs shows, for every path and every selection.
    #[test]
    fn layers_are_what_overlayfs_makes_of_them(models in prop::collection::vec(model(true), 1..4)) {
        if !is_root() {
            return Ok(());
        }
        let temporary = tempfile::tempdir().unwrap();
        let mut opened = Vec::new();
        for (index, model) in models.iter().enumerate() {
            let root = temporary.path().join(index.to_string());
            write(&root, model);
            // Every directory with a sticky bit hides what is below it.
            for (path, _) in model.iter().filter(|(_, item)| **item == Item::Directory(0o1770)) {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(root.join(path), format().opaque_xattr(), b"y", flags).unwrap();
            }
            opened.push(dir(&root));
        }
        let view = merged(&opened.iter().collect::<Vec<_>>(), format()).unwrap();
        let layers = Layers::new(opened, format());
        let through_overlay = Layers::new(vec![view.try_clone().unwrap()], format());
        let paths = models.iter().flat_map(|model| model.keys().cloned());
        for path in paths.chain([String::new(), "c/c/c/c".to_owned()]) {
            let bytes = path.as_bytes();
            prop_assert_eq!(layers.resolve(bytes).ok(), view.resolve(bytes).ok(), "{}", path);
            prop_assert_eq!(layers.read_file(bytes, 1000).ok(), view.read_file(bytes, 1000).ok(), "{}", path);
            let seen = |metadata: Metadata| (metadata.kind, metadata.mode);
            if view.open_dir_no_links(path.rsplit_once('/').map_or("", |parts| parts.0).as_bytes()).is_ok() {
                let expected = view.metadata(bytes, Follow::No).ok().map(seen);
                prop_assert_eq!(layers.metadata(bytes).unwrap().map(seen), expected, "{}", path);
            }
            let digest = |layers: &Layers| select(layers, &[path.as_str()]).ok().map(|found| found.digest().unwrap());
            prop_assert_eq!(digest(&layers), digest(&through_overlay), "{}", path);
        }
    }
}
