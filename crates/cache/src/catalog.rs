//! A cache's content as values: layers that lie on each other, and records whose results they are.
//!
//! What is read from elsewhere is checked here once; from then on every place in a list is a place that there is.

use std::collections::{BTreeMap, BTreeSet};

use stave_oci::{BlobDigest, Compression, Descriptor, DiffId};

use crate::format::{
    CREATED_AT, CacheConfig, ChainEntry, InputEntry, LayerEntry, LayerFacts, LayerNote, ParcelEntry, RecordEntry,
    RecordNote, ResultEntry, UNCOMPRESSED,
};
use crate::limits;

/// A layer's blob and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The blob.
    pub blob: BlobDigest,
    /// Its length in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// Digest of its tar.
    pub diff_id: DiffId,
    /// When it was made, in seconds since 1970.
    pub created: Option<i64>,
    /// Bytes of its tar; 0 where nobody said.
    pub bytes: u64,
}

impl Layer {
    /// Returns the blob's descriptor, with the remarks that BuildKit wants.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        let mut descriptor = Descriptor::new(&self.media_type, self.blob, self.size);
        descriptor.annotations.insert(UNCOMPRESSED.to_owned(), self.diff_id.to_string());
        if let Some(created) = self.created {
            descriptor.annotations.insert(CREATED_AT.to_owned(), time_text(created));
        }
        descriptor
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    layer: Layer,
    parent: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    /// Lowest first.
    layers: Vec<usize>,
    created: Option<i64>,
    /// Whether it has to be written as a list, for its layers lie on others elsewhere.
    listed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    digest: BlobDigest,
    inputs: Vec<Vec<(String, usize)>>,
    results: Vec<Outcome>,
    note: Option<RecordNote>,
}

/// A result to be put into a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// What the step is.
    pub digest: BlobDigest,
    /// The steps that it reads from.
    pub inputs: Vec<BlobDigest>,
    /// Its layers, lowest first; none where only the step itself is told.
    pub layers: Vec<Layer>,
    /// When it was made, in seconds since 1970.
    pub created: Option<i64>,
    /// What else stave knows.
    pub note: RecordNote,
}

/// Layers and records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    layers: Vec<Placed>,
    records: Vec<Record>,
    /// The first record of each digest.
    by_digest: BTreeMap<BlobDigest, usize>,
}

/// Why a document is no cache that stave can use.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The text is not JSON of the expected shape.
    #[error("the cache's configuration is not valid")]
    Json(#[from] serde_json::Error),
    /// More than any build makes.
    #[error("the cache has {count} {what}, and at most {limit} are read")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A place in a list that is not there.
    #[error("the cache's configuration names {what} {index}, which is not there")]
    NoSuch {
        /// What should be there.
        what: &'static str,
        /// The place.
        index: i64,
    },
    /// Layers that lie on each other in a circle.
    #[error("layer {0} of the cache lies on itself")]
    Circle(usize),
    /// The inline field is not base64.
    #[error("the inline cache of the image is not base64")]
    Base64(#[from] base64::DecodeError),
    /// The document is neither a cache nor an image.
    #[error("{0}")]
    NoCache(String),
}

/// Returns the place that `index` names in a list of `length`.
fn place(what: &'static str, index: i64, length: usize) -> Result<usize, FormatError> {
    usize::try_from(index).ok().filter(|place| *place < length).ok_or(FormatError::NoSuch { what, index })
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), FormatError> {
    if count > limit { Err(FormatError::TooMany { what, count, limit }) } else { Ok(()) }
}

impl Catalog {
    /// Reads a configuration; `descriptors` are what a manifest says of the blobs.
    ///
    /// A layer of which nobody says what its tar is cannot be checked, so results with it are left out.
    ///
    /// # Errors
    /// A place that is not there, layers in a circle, or more of something than any build makes.
    pub fn read(config: &CacheConfig, descriptors: &[Descriptor]) -> Result<Self, FormatError> {
        check_count("layers", config.layers.len(), limits::LAYERS_READ_MAX)?;
        check_count("records", config.records.len(), limits::RECORDS_READ_MAX)?;
        let stated: BTreeMap<BlobDigest, &Descriptor> =
            descriptors.iter().map(|descriptor| (descriptor.digest, descriptor)).collect();
        let mut parents = Vec::new();
        for entry in &config.layers {
            parents.push(if entry.parent < 0 {
                None
            } else {
                Some(place("layer", entry.parent, config.layers.len())?)
            });
        }
        let chain = |top: usize| -> Result<Vec<usize>, FormatError> {
            let mut chain = Vec::new();
            let mut next = Some(top);
            while let Some(layer) = next {
                if chain.len() > limits::CHAIN_MAX {
                    return Err(FormatError::Circle(top));
                }
                chain.push(layer);
                next = parents[layer];
            }
            chain.reverse();
            Ok(chain)
        };
        let known: Vec<Option<Layer>> =
            config.layers.iter().map(|entry| layer(entry, stated.get(&entry.blob).copied())).collect();
        let mut catalog = Self::default();
        for entry in &config.records {
            let mut results = Vec::new();
            for result in &entry.layers {
                let top = place("layer", result.layer, config.layers.len())?;
                results.push((chain(top)?, seconds(&result.created_at), false));
            }
            for result in &entry.chains {
                check_count("layers", result.layers.len(), limits::CHAIN_MAX)?;
                let layers = result.layers.iter().map(|index| place("layer", *index, config.layers.len()));
                results.push((layers.collect::<Result<_, _>>()?, seconds(&result.created_at), true));
            }
            let mut inputs = Vec::new();
            for links in &entry.inputs {
                let links = links
                    .iter()
                    .map(|input| Ok((input.selector.clone(), place("record", input.link, config.records.len())?)));
                inputs.push(links.collect::<Result<Vec<_>, FormatError>>()?);
            }
            let place = catalog.records.len();
            let mut record = Record { digest: entry.digest, inputs, results: Vec::new(), note: entry.stave.clone() };
            for (chain, created, listed) in results {
                let layers: Option<Vec<Layer>> = chain.iter().map(|layer| known[*layer].clone()).collect();
                let Some(layers) = layers else { continue };
                let layers = catalog.add_layers(&layers, listed);
                record.results.push(Outcome { layers, created, listed });
            }
            catalog.records.push(record);
            catalog.by_digest.entry(entry.digest).or_insert(place);
        }
        Ok(catalog)
    }

    /// Returns the places of these layers, lowest first, each on the one before it, adding what is not there.
    fn add_layers(&mut self, layers: &[Layer], listed: bool) -> Vec<usize> {
        let mut below = None;
        let mut places = Vec::new();
        for layer in layers {
            let same = |placed: &Placed| placed.layer.blob == layer.blob && (listed || placed.parent == below);
            let place = self.layers.iter().position(same).unwrap_or_else(|| {
                self.layers.push(Placed { layer: layer.clone(), parent: below });
                self.layers.len() - 1
            });
            below = Some(place);
            places.push(place);
        }
        places
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns how many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns the layers, lowest first, and the time of the latest result under `digest`.
    #[must_use]
    pub fn find(&self, digest: &BlobDigest) -> Option<(Vec<&Layer>, Option<i64>)> {
        let record = &self.records[*self.by_digest.get(digest)?];
        let result = record.results.iter().max_by_key(|result| result.created)?;
        Some((result.layers.iter().map(|place| &self.layers[*place].layer).collect(), result.created))
    }

    /// Returns the other records of the same instruction with the same layers: they say by which content it is found.
    #[must_use]
    pub fn twins(&self, digest: &BlobDigest) -> Vec<BlobDigest> {
        let Some(own) = self.by_digest.get(digest).map(|place| &self.records[*place]) else { return Vec::new() };
        let op = |record: &Record| record.note.as_ref().map(|note| note.op.clone());
        let layers = |record: &Record| record.results.iter().map(|result| result.layers.clone()).collect::<Vec<_>>();
        let is_twin = |other: &&Record| {
            other.digest != *digest && other.inputs.is_empty() && op(other) == op(own) && layers(other) == layers(own)
        };
        self.records.iter().filter(is_twin).map(|record| record.digest).collect()
    }

    /// Returns what stave knows of the record with this digest.
    #[must_use]
    pub fn note(&self, digest: &BlobDigest) -> Option<&RecordNote> {
        self.records[*self.by_digest.get(digest)?].note.as_ref()
    }

    /// Returns what says how results were made, that of the latest export first, each once.
    #[must_use]
    pub fn latest_parcels(&self, count: usize) -> Vec<ParcelEntry> {
        let mut notes: Vec<&RecordNote> = self.records.iter().filter_map(|record| record.note.as_ref()).collect();
        notes.sort_by_key(|note| std::cmp::Reverse(note.used));
        let mut seen = BTreeSet::new();
        let parcels = notes.into_iter().filter_map(|note| note.made_of.as_ref());
        parcels.filter(|parcel| seen.insert(parcel.blob)).take(count).cloned().collect()
    }

    /// Forgets how results were made but for the latest exports.
    pub fn trim_parcels(&mut self, count: usize) {
        let kept: BTreeSet<BlobDigest> = self.latest_parcels(count).into_iter().map(|parcel| parcel.blob).collect();
        for note in self.records.iter_mut().filter_map(|record| record.note.as_mut()) {
            note.made_of.take_if(|parcel| !kept.contains(&parcel.blob));
        }
    }

    /// Whether a record of the instruction `op` is there.
    #[must_use]
    pub fn has_op(&self, op: &str) -> bool {
        self.records.iter().any(|record| record.note.as_ref().is_some_and(|note| note.op == op))
    }

    /// Returns all layers, each blob once.
    #[must_use]
    pub fn layers(&self) -> Vec<&Layer> {
        let mut seen = BTreeSet::new();
        self.layers.iter().map(|placed| &placed.layer).filter(|layer| seen.insert(layer.blob)).collect()
    }

    /// Adds a record, or a result to one that is there. Inputs that are not there are added without results.
    pub fn add(&mut self, new: NewRecord) {
        let inputs: Vec<Vec<(String, usize)>> =
            new.inputs.iter().map(|input| vec![(String::new(), self.record_of(input))]).collect();
        let layers = self.add_layers(&new.layers, false);
        let place = self.record_of(&new.digest);
        let record = &mut self.records[place];
        record.inputs = inputs;
        record.note = Some(new.note);
        if !layers.is_empty() {
            record.results = vec![Outcome { layers, created: new.created, listed: false }];
        }
    }

    fn record_of(&mut self, digest: &BlobDigest) -> usize {
        if let Some(place) = self.by_digest.get(digest) {
            return *place;
        }
        let record = Record { digest: *digest, inputs: Vec::new(), results: Vec::new(), note: None };
        self.records.push(record);
        self.by_digest.insert(*digest, self.records.len() - 1);
        self.records.len() - 1
    }

    /// Takes in all that `other` has and this has not. Of a record of stave's that both have, the one used later counts.
    pub fn merge(&mut self, other: &Self) {
        let mut places = Vec::new();
        let mut taken = Vec::new();
        for record in &other.records {
            let key = other.identity(record);
            let there = self.records.iter().position(|own| own.digest == record.digest && self.identity(own) == key);
            let place = there.unwrap_or_else(|| {
                let empty = Record { digest: record.digest, inputs: Vec::new(), results: Vec::new(), note: None };
                self.records.push(empty);
                self.by_digest.entry(record.digest).or_insert(self.records.len() - 1);
                self.records.len() - 1
            });
            let used = |note: &Option<RecordNote>| note.as_ref().map(|note| note.used);
            let own = &self.records[place];
            let better = own.results.is_empty() && !record.results.is_empty();
            if there.is_none() || better || used(&own.note) < used(&record.note) {
                taken.push((place, record));
            }
            places.push(place);
        }
        for (place, record) in taken {
            let mut results = Vec::new();
            for result in &record.results {
                let layers: Vec<Layer> = result.layers.iter().map(|place| other.layers[*place].layer.clone()).collect();
                results.push(Outcome { layers: self.add_layers(&layers, result.listed), ..result.clone() });
            }
            let inputs = record
                .inputs
                .iter()
                .map(|links| links.iter().map(|(selector, link)| (selector.clone(), places[*link])).collect());
            let own = &mut self.records[place];
            own.inputs = inputs.collect();
            own.note.clone_from(&record.note);
            if !results.is_empty() {
                own.results = results;
            }
        }
    }

    /// Whether all records of stave's in `other` that have results have them here as well.
    #[must_use]
    pub fn has_all_of(&self, other: &Self) -> bool {
        let results = other.records.iter().filter(|record| record.note.is_some() && !record.results.is_empty());
        results.map(|record| &record.digest).all(|digest| self.find(digest).is_some())
    }

    /// What tells records of one digest apart: of stave's nothing, for their digest says it all; of others their inputs.
    fn identity(&self, record: &Record) -> Vec<Vec<(String, BlobDigest)>> {
        if record.note.is_some() {
            return Vec::new();
        }
        let links = |links: &Vec<(String, usize)>| {
            links.iter().map(|(selector, link)| (selector.clone(), self.records[*link].digest)).collect()
        };
        record.inputs.iter().map(links).collect()
    }

    /// Leaves out what no build has used since `since` (seconds since 1970), and then the results used the longest ago
    /// until at most `layers_max` layers are left.
    pub fn trim(&mut self, since: i64, layers_max: usize) {
        self.keep_while(|used, layers| used >= since && layers.len() <= layers_max);
    }

    /// Leaves out the results used the longest ago until the blobs of the rest have at most `bytes_max` bytes.
    pub fn trim_bytes(&mut self, bytes_max: u64) {
        self.keep_while(|_, layers| {
            let mut seen = BTreeSet::new();
            let own = layers.iter().filter(|layer| seen.insert(layer.blob));
            own.map(|layer| layer.size).sum::<u64>() <= bytes_max
        });
    }

    /// Keeps the results used last, as long as `keep` says yes to the time of the next and to all layers with it.
    fn keep_while(&mut self, fits: impl Fn(i64, &[&Layer]) -> bool) {
        let used = |record: &Record| {
            let made = record.results.iter().filter_map(|result| result.created).max();
            record.note.as_ref().map(|note| note.used).or(made).unwrap_or(i64::MAX)
        };
        let mut order: Vec<usize> = (0..self.records.len()).collect();
        order.sort_by_key(|place| std::cmp::Reverse(used(&self.records[*place])));
        let (mut layers, mut keep) = (BTreeSet::new(), BTreeSet::new());
        for place in order {
            let record = &self.records[place];
            if record.results.is_empty() {
                continue;
            }
            let mut with: BTreeSet<usize> = layers.clone();
            with.extend(record.results.iter().flat_map(|result| result.layers.iter().copied()));
            let all: Vec<&Layer> = with.iter().map(|place| &self.layers[*place].layer).collect();
            if !fits(used(record), &all) {
                break;
            }
            layers = with;
            keep.insert(place);
        }
        self.retain(&keep);
    }

    /// Keeps these records with their results, what they name without, and nothing else.
    fn retain(&mut self, keep: &BTreeSet<usize>) {
        let mut wanted: BTreeSet<usize> = BTreeSet::new();
        let mut open: Vec<usize> = keep.iter().copied().collect();
        while let Some(place) = open.pop() {
            if wanted.insert(place) {
                open.extend(self.records[place].inputs.iter().flatten().map(|(_, link)| *link));
            }
        }
        let numbers: BTreeMap<usize, usize> = wanted.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        let old = std::mem::take(self);
        for place in &wanted {
            let record = &old.records[*place];
            let inputs = record
                .inputs
                .iter()
                .map(|links| links.iter().map(|(selector, link)| (selector.clone(), numbers[link])).collect());
            let mut kept = Record { inputs: inputs.collect(), results: Vec::new(), ..record.clone() };
            if keep.contains(place) {
                for result in &record.results {
                    let layers: Vec<Layer> =
                        result.layers.iter().map(|place| old.layers[*place].layer.clone()).collect();
                    let layers = self.add_layers(&layers, result.listed);
                    kept.results.push(Outcome { layers, ..result.clone() });
                }
            }
            self.records.push(kept);
            self.by_digest.entry(record.digest).or_insert(self.records.len() - 1);
        }
    }

    /// Writes the configuration; `facts` is whether each layer says what a manifest would say, where there is none.
    #[must_use]
    pub fn to_config(&self, facts: bool) -> CacheConfig {
        let layers = self.layers.iter().map(|Placed { layer, parent }| LayerEntry {
            blob: layer.blob,
            parent: parent.map_or(-1, index),
            annotations: facts.then(|| LayerFacts {
                media_type: layer.media_type.clone(),
                diff_id: Some(layer.diff_id),
                size: layer.size,
                created_at: layer.created.map(time_text).unwrap_or_default(),
            }),
            stave: (layer.bytes > 0).then_some(LayerNote { bytes: layer.bytes }),
        });
        let records = self.records.iter().map(|record| {
            let created = |result: &Outcome| result.created.map(time_text).unwrap_or_default();
            let (listed, plain): (Vec<_>, Vec<_>) = record.results.iter().partition(|result| result.listed);
            RecordEntry {
                layers: plain
                    .iter()
                    .filter_map(|result| {
                        Some(ResultEntry { layer: index(*result.layers.last()?), created_at: created(result) })
                    })
                    .collect(),
                chains: listed
                    .iter()
                    .map(|result| ChainEntry {
                        layers: result.layers.iter().copied().map(index).collect(),
                        created_at: created(result),
                    })
                    .collect(),
                digest: record.digest,
                inputs: record
                    .inputs
                    .iter()
                    .map(|links| {
                        let entry = |(selector, link): &(String, usize)| InputEntry {
                            selector: selector.clone(),
                            link: index(*link),
                        };
                        links.iter().map(entry).collect()
                    })
                    .collect(),
                stave: record.note.clone(),
            }
        });
        CacheConfig { layers: layers.collect(), records: records.collect() }
    }

    /// Writes the records whose results are made of an image's layers, as the image's configuration carries them: places
    /// are those of the image's layers. Nothing if there is no such record.
    #[must_use]
    pub fn to_inline(&self, image: &[BlobDigest]) -> Option<Vec<RecordEntry>> {
        let mut own = Self { layers: self.layers.clone(), ..Self::default() };
        own.records.clone_from(&self.records);
        let mut config = own.to_config(false);
        let mut any = false;
        for (entry, record) in config.records.iter_mut().zip(&self.records) {
            entry.layers.clear();
            entry.chains.clear();
            for result in &record.results {
                let places: Option<Vec<usize>> = result
                    .layers
                    .iter()
                    .map(|place| image.iter().position(|blob| *blob == self.layers[*place].layer.blob))
                    .collect();
                let Some(places) = places.filter(|places| !places.is_empty()) else { continue };
                any = true;
                let created_at = result.created.map(time_text).unwrap_or_default();
                if places.iter().copied().eq(0..places.len()) {
                    entry.layers.push(ResultEntry { layer: index(places.len() - 1), created_at });
                } else {
                    entry.chains.push(ChainEntry { layers: places.into_iter().map(index).collect(), created_at });
                }
            }
        }
        any.then_some(config.records)
    }
}

/// Returns what is known of a layer, or nothing if too little is.
fn layer(entry: &LayerEntry, stated: Option<&Descriptor>) -> Option<Layer> {
    let note = entry.stave.unwrap_or_default();
    let (size, media_type, diff_id, created) = match (stated, &entry.annotations) {
        (Some(stated), _) => (
            stated.size,
            stated.media_type.clone(),
            stated.annotations.get(UNCOMPRESSED)?.parse().ok()?,
            stated.annotations.get(CREATED_AT).and_then(|text| seconds(text)),
        ),
        (None, Some(facts)) => (facts.size, facts.media_type.clone(), facts.diff_id?, seconds(&facts.created_at)),
        (None, None) => return None,
    };
    Compression::of_media_type(&media_type)?;
    Some(Layer { blob: entry.blob, size, media_type, diff_id, created, bytes: note.bytes })
}

/// Returns an RFC 3339 time as seconds since 1970, or nothing if it is none.
fn seconds(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

fn time_text(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

fn index(place: usize) -> i64 {
    i64::try_from(place).expect("lists are shorter than the address space")
}
