//! What is different in two images: fields of their configurations, layers, and files of layers and of the whole.
//!
//! Turns two images of the store into lists of differences, each with its place. It knows nothing of how they are shown.

use std::path::Path;

use serde_json::Value;
use stave_oci::{DiffId, ImageId};
use stave_store::{ImageError, Lease};
use stave_tree::inventory::{Inventory, Listed, first_difference, inventory, together};
use stave_tree::{Dir, Kind};

use crate::build::Report;
use crate::engine::{Engine, open_user_dir};
use crate::error::EngineError;
use crate::event::Event;
use crate::finish::ReadyImage;
use crate::forms::{BuiltLayer, PackedLayer};

/// Two images, and all in which they differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The images.
    pub ids: [ImageId; 2],
    /// Fields of the configurations, history included, but for the list of layers.
    pub fields: Vec<FieldDifference>,
    /// Layers at the same place that are not the same.
    pub layers: Vec<LayerDifference>,
    /// Files as a container sees them.
    pub files: Vec<FileDifference>,
}

impl Comparison {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.ids[0] == self.ids[1]
    }
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDifference {
    /// Where it is: `config.Env[2]`.
    pub path: String,
    /// What each image has there, if anything.
    pub values: [Option<Value>; 2],
}

/// A layer that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDifference {
    /// Its place, counted from 0, the lowest.
    pub index: usize,
    /// The layer of each image, if it has that many.
    pub diff_ids: [Option<DiffId>; 2],
    /// The instruction that made it in each image, as far as the history says so.
    pub created_by: [Option<String>; 2],
    /// Its files that differ. None, if only the form of the archives is another one.
    pub files: Vec<FileDifference>,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDifference {
    /// Its path, which need not be text.
    pub path: Vec<u8>,
    /// In what it differs.
    pub how: FileChange,
}

/// How a file differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileChange {
    /// Only the first image has it, or only the second.
    Only {
        /// 0 or 1.
        image: usize,
        /// What it is.
        what: String,
    },
    /// Both have it.
    Both(Vec<FileField>),
}

/// In what a file differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileField {
    /// In a property with this name, and its values.
    Property(&'static str, [String; 2]),
    /// In its content, from the byte with this offset on.
    Content(u64),
}

/// One of the images.
struct Side {
    config: Value,
    diff_ids: Vec<DiffId>,
    dirs: Vec<Dir>,
    layers: Vec<Inventory>,
}

impl Engine {
    /// Compares two images, each given by name, by id, or as an archive or an OCI layout of this machine.
    ///
    /// # Errors
    /// There is no such image; a layer cannot be read.
    pub fn compare(&self, names: [&str; 2], events: &(dyn Fn(Event) + Sync)) -> Result<Comparison, EngineError> {
        let lease = self.lease()?;
        let ready = |name: &str| {
            let record = match lease.resolve_image(name) {
                Err(ImageError::NotFound(_)) if Path::new(name).exists() => {
                    lease.resolve_image(&self.unnamed(&lease, Path::new(name), events)?.to_string())?
                }
                found => found?,
            };
            self.ready_image(&lease, &record, events)
        };
        let (left, right) = (ready(names[0])?, ready(names[1])?);
        self.compare_ready(&left, &right)
    }

    /// Has the store have the image of an archive or a layout, without its names.
    fn unnamed(&self, lease: &Lease, path: &Path, events: Report<'_>) -> Result<ImageId, EngineError> {
        if path.is_dir() {
            return self.load_without_names(lease, &open_user_dir(path)?, events);
        }
        let mut file = std::fs::File::open(path).map_err(|source| EngineError::io("read", path, source))?;
        let work = lease.work_dir()?;
        let root = self.store_dir(&work.diff_rel_path())?;
        crate::confined::extract(self, &root, &mut file, &format!("the archive `{}`", path.display()))?;
        self.load_without_names(lease, &root, events)
    }

    /// Compares two images whose layers are here.
    pub(crate) fn compare_ready(&self, left: &ReadyImage, right: &ReadyImage) -> Result<Comparison, EngineError> {
        let ids = [left.composed.id, right.composed.id];
        let mut comparison = Comparison { ids, fields: Vec::new(), layers: Vec::new(), files: Vec::new() };
        if comparison.is_equal() {
            return Ok(comparison);
        }
        let sides = [self.side(left)?, self.side(right)?];
        let configs = [&sides[0], &sides[1]].map(|side| Some(without_layers(&side.config)));
        fields(String::new(), configs, &mut comparison.fields);
        for index in 0..sides[0].diff_ids.len().max(sides[1].diff_ids.len()) {
            let diff_ids = [&sides[0], &sides[1]].map(|side| side.diff_ids.get(index).copied());
            if diff_ids[0] == diff_ids[1] {
                continue;
            }
            let none = Inventory::new();
            let lists = [&sides[0], &sides[1]].map(|side| side.layers.get(index).unwrap_or(&none));
            let lists = lists.map(|list| list.iter().map(|(path, file)| (path, (index, file))).collect::<Vec<_>>());
            let files = files(&sides, [&lists[0], &lists[1]])?;
            let created_by = [&sides[0], &sides[1]].map(|side| created_by(&side.config, index));
            comparison.layers.push(LayerDifference { index, diff_ids, created_by, files });
        }
        if !comparison.layers.is_empty() {
            let whole = [together(&sides[0].layers), together(&sides[1].layers)];
            let lists = [&whole[0], &whole[1]].map(|all| all.iter().map(|(path, at)| (path, *at)).collect::<Vec<_>>());
            comparison.files = self::files(&sides, [&lists[0], &lists[1]])?;
        }
        Ok(comparison)
    }

    fn side(&self, image: &ReadyImage) -> Result<Side, EngineError> {
        let config = serde_json::from_slice(&image.composed.bytes)
            .map_err(|source| EngineError::tree("cannot use the configuration of an image", source))?;
        let dirs = self.open_layers(&image.layer_ids()?)?;
        let list = |(dir, packed): (&Dir, &PackedLayer)| {
            inventory(dir, self.format(), packed.times)
                .map_err(|source| EngineError::tree(format!("cannot list layer {}", packed.layer), source))
        };
        let layers = dirs.iter().zip(&image.packed()?).map(list).collect::<Result<_, _>>()?;
        Ok(Side { config, diff_ids: image.layers.iter().map(BuiltLayer::diff_id).collect(), dirs, layers })
    }
}

type At<'a> = (&'a Vec<u8>, (usize, &'a Listed));

/// Compares two lists of files, both in the order of their paths.
fn files(sides: &[Side; 2], lists: [&[At<'_>]; 2]) -> Result<Vec<FileDifference>, EngineError> {
    let mut found = Vec::new();
    let (mut left, mut right) = (lists[0].iter().peekable(), lists[1].iter().peekable());
    let only = |image: usize, (path, (_, file)): &At<'_>| FileDifference {
        path: (*path).clone(),
        how: FileChange::Only { image, what: described(file) },
    };
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return Ok(found),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        match order {
            std::cmp::Ordering::Less => found.extend(left.next().map(|at| only(0, at))),
            std::cmp::Ordering::Greater => found.extend(right.next().map(|at| only(1, at))),
            std::cmp::Ordering::Equal => {
                let (Some((path, one)), Some((_, other))) = (left.next(), right.next()) else { return Ok(found) };
                let fields = both(sides, path, *one, *other)?;
                if !fields.is_empty() {
                    found.push(FileDifference { path: (*path).clone(), how: FileChange::Both(fields) });
                }
            }
        }
    }
}

fn both(
    sides: &[Side; 2],
    path: &[u8],
    (left_layer, left): (usize, &Listed),
    (right_layer, right): (usize, &Listed),
) -> Result<Vec<FileField>, EngineError> {
    let mut fields = Vec::new();
    let mut property = |name: &'static str, values: [String; 2]| {
        if values[0] != values[1] {
            fields.push(FileField::Property(name, values));
        }
    };
    property("type", [left, right].map(|file| kind(file).to_owned()));
    property("mode", [left, right].map(|file| format!("{:04o}", file.mode)));
    property("owner", [left, right].map(|file| format!("{}:{}", file.owner.0, file.owner.1)));
    property("size", [left, right].map(|file| file.size.to_string()));
    property("modified", [left, right].map(|file| time(file.modified)));
    property("target", [left, right].map(|file| file.link.as_deref().map(text).unwrap_or_default()));
    property("device", [left, right].map(|file| format!("{:?}", file.device)));
    property("attributes", [left, right].map(attributes));
    property("hides what is below", [left, right].map(|file| file.opaque.to_string()));
    if left.kind == Some(Kind::File) && right.kind == Some(Kind::File) {
        let (one, other) = (&sides[0].dirs[left_layer], &sides[1].dirs[right_layer]);
        let at = first_difference(one, other, path)
            .map_err(|source| EngineError::tree("cannot compare the files of the images", source))?;
        fields.extend(at.map(FileField::Content));
    }
    Ok(fields)
}

fn kind(file: &Listed) -> &'static str {
    match file.kind {
        None => "deletion",
        Some(Kind::File) => "file",
        Some(Kind::Directory) => "directory",
        Some(Kind::Link) => "link",
        Some(Kind::Pipe) => "pipe",
        Some(Kind::Socket) => "socket",
        Some(Kind::CharDevice) => "character device",
        Some(Kind::BlockDevice) => "block device",
    }
}

fn described(file: &Listed) -> String {
    match file.kind {
        None => kind(file).to_owned(),
        Some(Kind::File) => {
            format!("file {:04o} {}:{} {} bytes", file.mode, file.owner.0, file.owner.1, file.size)
        }
        Some(Kind::Link) => format!("link to {}", file.link.as_deref().map(text).unwrap_or_default()),
        Some(_) => format!("{} {:04o} {}:{}", kind(file), file.mode, file.owner.0, file.owner.1),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn attributes(file: &Listed) -> String {
    let one = |xattr: &stave_tree::Xattr| format!("{}={}", text(&xattr.name), stave_oci::digest::hex(&xattr.value));
    file.xattrs.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

fn without_layers(config: &Value) -> Value {
    let mut config = config.clone();
    if let Some(rootfs) = config.get_mut("rootfs").and_then(Value::as_object_mut) {
        rootfs.remove("diff_ids");
    }
    config
}

/// Returns what the history says of the layer at `index`.
fn created_by(config: &Value, index: usize) -> Option<String> {
    let empty = |entry: &&Value| entry.get("empty_layer").and_then(Value::as_bool).unwrap_or(false);
    let mut made = config.get("history")?.as_array()?.iter().filter(|entry| !empty(entry));
    made.nth(index)?.get("created_by")?.as_str().map(str::to_owned)
}

/// Adds the differences between two values, down to single fields and items.
fn fields(path: String, values: [Option<Value>; 2], found: &mut Vec<FieldDifference>) {
    if values[0] == values[1] {
        return;
    }
    match values {
        [Some(Value::Object(mut left)), Some(Value::Object(mut right))] => {
            let mut names: Vec<String> = left.keys().chain(right.keys()).cloned().collect();
            names.sort();
            names.dedup();
            for name in names {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields(below, [left.remove(&name), right.remove(&name)], found);
            }
        }
        [Some(Value::Array(left)), Some(Value::Array(right))] => {
            let (mut left, mut right) = (left.into_iter(), right.into_iter());
            for index in 0.. {
                let items = [left.next(), right.next()];
                if items == [None, None] {
                    break;
                }
                fields(format!("{path}[{index}]"), items, found);
            }
        }
        values => found.push(FieldDifference { path, values }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_that_differ_are_named_by_their_places() {
        let mut found = Vec::new();
        let left = json!({"a": 1, "config": {"Env": ["A=1", "B=2"], "User": "me"}});
        let right = json!({"a": 1, "config": {"Env": ["A=1", "B=3", "C=4"]}});
        fields(String::new(), [Some(left), Some(right)], &mut found);
        let shown: Vec<String> = found
            .iter()
            .map(|field| {
                let [left, right] = field.values.clone().map(|value| value.unwrap_or_default().to_string());
                format!("{}: {left} {right}", field.path)
            })
            .collect();
        assert_eq!(
            shown,
            ["config.Env[1]: \"B=2\" \"B=3\"", "config.Env[2]: null \"C=4\"", "config.User: \"me\" null"]
        );
    }

    #[test]
    fn the_history_names_the_instruction_of_a_layer() {
        let config = json!({"history": [
            {"created_by": "one"}, {"created_by": "env", "empty_layer": true}, {"created_by": "two"}
        ]});
        assert_eq!(created_by(&config, 1).as_deref(), Some("two"));
        assert_eq!(created_by(&config, 2), None);
    }
}
