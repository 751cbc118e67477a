//! Two builds, compared: for each step of the later one the first input that is another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::align::{Line, align};
use crate::ingredients::{Field, Ingredients, Input, Known, Read, Step, Variable};
use crate::manifest::{Manifest, Rule};
use stave_event::{ImageName, Miss, Value};

/// Which of the two builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The earlier one.
    Old,
    /// The later one.
    New,
}

/// What a comparison asks for when it comes to files: nobody has all the lists at hand.
pub trait Files {
    /// Returns the files with this digest that a step of one build reads, if they are known.
    fn manifest(&self, side: Side, digest: &str) -> Option<Arc<Manifest>>;

    /// Returns the rule that leaves out a file which is still in a context, if that is so.
    fn ignored(&self, context: &str, path: &[u8]) -> Option<Rule>;
}

/// Two builds of the same thing.
pub struct Comparison {
    new: Arc<Ingredients>,
    old: Arc<Ingredients>,
    /// For each new step the old one that it was.
    aligned: Vec<Option<usize>>,
    /// What has been found out.
    known: Mutex<BTreeMap<usize, Option<Miss>>>,
}

impl Comparison {
    /// Compares `new` with `old`, both of which are [sound](Ingredients::is_sound).
    #[must_use]
    pub fn new(new: Arc<Ingredients>, old: Arc<Ingredients>) -> Self {
        let aligned = aligned(&new, &old);
        Self { new, old, aligned, known: Mutex::default() }
    }

    /// Whether the earlier build had the stage of this step.
    #[must_use]
    pub fn has_stage(&self, step: usize) -> bool {
        self.old.steps.iter().any(|old| old.name.stage == self.new.steps[step].name.stage)
    }

    /// Returns the step of the earlier build that this one was, if there was one.
    #[must_use]
    pub fn counterpart(&self, step: usize) -> Option<&Step> {
        self.aligned[step].map(|place| &self.old.steps[place])
    }

    /// Returns the first input of a step that is another one than in the earlier build; nothing if none is.
    ///
    /// What it depends on is looked at first, step by step: a chain of thousands of them needs no deep stack.
    #[must_use]
    pub fn miss(&self, step: usize, files: &dyn Files) -> Option<Miss> {
        let mut wanted = BTreeSet::new();
        let mut open = vec![step];
        while let Some(step) = open.pop() {
            if !self.lock().contains_key(&step) && wanted.insert(step) {
                open.extend(self.new.steps[step].inputs.iter().filter_map(Input::step));
            }
        }
        for step in wanted {
            let miss = self.difference(step, files);
            self.lock().insert(step, miss);
        }
        self.known_miss(step)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Option<Miss>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_miss(&self, step: usize) -> Option<Miss> {
        self.lock().get(&step).cloned().flatten()
    }

    fn difference(&self, step: usize, files: &dyn Files) -> Option<Miss> {
        let new = &self.new.steps[step];
        if self.new.schema != self.old.schema {
            return Some(self.version());
        }
        let Some(place) = self.aligned[step] else {
            return Some(Miss::Instruction { old: None, new: new.name.title.clone() });
        };
        let old = &self.old.steps[place];
        if new.key == old.key {
            return None;
        }
        if new.platform != old.platform {
            return Some(Miss::Platform { old: old.platform.clone(), new: new.platform.clone() });
        }
        self.own(new, old)
            .or_else(|| reads(new, old, files))
            .or_else(|| self.inputs(new, old))
            .or_else(|| self.unseen(new, old))
    }

    fn version(&self) -> Miss {
        let shown = |one: &Ingredients| {
            if self.new.builder == self.old.builder {
                format!("{} (keys of version {})", one.builder, one.schema)
            } else {
                one.builder.clone()
            }
        };
        Miss::Version { old: shown(&self.old), new: shown(&self.new) }
    }

    /// What the step itself does, in the order of what a person changes: its text, its variables, its settings.
    fn own(&self, new: &Step, old: &Step) -> Option<Miss> {
        let (before, after) = (self.old.variables(old), self.new.variables(new));
        let first = fields(new, old);
        let is_text = first.as_ref().is_some_and(|(field, ..)| field.text);
        let same_words = new.name.title == old.name.title;
        if is_text && !same_words {
            return Some(Miss::Instruction { old: Some(old.name.title.clone()), new: new.name.title.clone() });
        }
        if new.uses_variables
            && let Some(miss) = variables(after, before, &|_| true)
        {
            return Some(miss);
        }
        let (field, old_value, new_value) = first?;
        // The words are the same, so it is what they stand for.
        let named = |name: &str| mentions(&new.name.title, name);
        if same_words && let Some(miss) = variables(after, before, &named) {
            return Some(miss);
        }
        if same_words && let Some(miss) = shell(&field, &old_value, &new_value) {
            return Some(miss);
        }
        let (old, new) = (old_value, new_value);
        Some(match field.mount {
            Some(target) => Miss::Mount { target, option: field.name, old, new },
            None => Miss::Setting { name: field.name, old, new },
        })
    }

    fn inputs(&self, new: &Step, old: &Step) -> Option<Miss> {
        for (input, before) in new.inputs.iter().zip(&old.inputs) {
            if let Some(miss) = self.input(input, before) {
                return Some(miss);
            }
        }
        if new.inputs.len() != old.inputs.len() {
            let shown = |step: &Step| format!("{} results", step.inputs.len());
            return Some(Miss::Input { old: shown(old), new: shown(new) });
        }
        None
    }

    fn input(&self, new: &Input, old: &Input) -> Option<Miss> {
        match (new, old) {
            (
                Input::Image { name, digest, layers },
                Input::Image { name: old_name, digest: old_digest, layers: other },
            ) => (layers != other).then(|| Miss::Base {
                old: ImageName { name: old_name.clone(), digest: old_digest.clone() },
                new: ImageName { name: name.clone(), digest: digest.clone() },
            }),
            (Input::Nothing, Input::Nothing) => None,
            (Input::Step(new), Input::Step(old)) => self.parent(*new, *old),
            (Input::Step(new), _) if self.aligned[*new].is_none() => self.parent(*new, usize::MAX),
            (_, Input::Step(old)) if !self.aligned.contains(&Some(*old)) => {
                Some(Miss::Removed { instruction: self.old.steps[*old].name.title.clone() })
            }
            (new, old) => Some(Miss::Input { old: described(old, &self.old), new: described(new, &self.new) }),
        }
    }

    /// Compares the results of two steps that are read in the same place.
    fn parent(&self, new: usize, old: usize) -> Option<Miss> {
        let step = &self.new.steps[new];
        let before = self.old.steps.get(old);
        if before.is_some_and(|before| before.key == step.key) {
            return None;
        }
        if self.aligned[new] == Some(old) || self.aligned[new].is_none() {
            return Some(match self.known_miss(new)? {
                below @ Miss::Parent { .. } => below,
                miss => Miss::Parent { step: step.name.clone(), miss: Box::new(miss) },
            });
        }
        let before = before?;
        if !self.aligned.contains(&Some(old)) {
            return Some(Miss::Removed { instruction: before.name.title.clone() });
        }
        let shown = |step: &Step| step.name.to_string();
        Some(Miss::Input { old: shown(before), new: shown(step) })
    }

    /// What is left when all that can be seen is the same: a value that is not kept, or another builder.
    fn unseen(&self, new: &Step, old: &Step) -> Option<Miss> {
        let (before, after) = (self.old.variables(old), self.new.variables(new));
        let hidden = after.iter().find(|variable| {
            let same =
                before.iter().find(|other| other.name == variable.name).map(|other| other.value.same(&variable.value));
            same == Some(None)
        });
        if let Some(Variable { name, arg, .. }) = hidden {
            return Some(variable(name, *arg, Value::Hidden, Value::Hidden));
        }
        (self.new.builder != self.old.builder).then(|| self.version())
    }
}

/// What the step reads outside the graph.
fn reads(new: &Step, old: &Step, files: &dyn Files) -> Option<Miss> {
    for (new, old) in new.reads.iter().zip(&old.reads) {
        match (new, old) {
            (Read::Files { digest: new }, Read::Files { digest: old }) if new != old => {
                let both = files.manifest(Side::New, new).zip(files.manifest(Side::Old, old));
                let ignored = |context: &str, path: &[u8]| files.ignored(context, path);
                let change = both.and_then(|(new, old)| new.first_change(&old, &ignored));
                return Some(change.unwrap_or(Miss::Files));
            }
            (Read::Remote { address, digest: new }, Read::Remote { digest: old, .. }) if new != old => {
                return Some(Miss::Remote { address: address.clone(), old: old.clone(), new: new.clone() });
            }
            _ => {}
        }
    }
    None
}

/// Returns the first field that differs, with its values.
fn fields(new: &Step, old: &Step) -> Option<(Field, Value, Value)> {
    let mut used = vec![false; old.fields.len()];
    for field in &new.fields {
        let same =
            |(place, other): &(usize, &Field)| !used[*place] && other.name == field.name && other.mount == field.mount;
        let Some((place, before)) = old.fields.iter().enumerate().find(same) else {
            return Some((field.clone(), Value::Unset, field.value.shown()));
        };
        used[place] = true;
        if field.value.same(&before.value) == Some(false) {
            return Some((field.clone(), before.value.shown(), field.value.shown()));
        }
    }
    let gone = old.fields.iter().zip(used).find(|(_, used)| !used);
    gone.map(|(field, _)| (field.clone(), field.value.shown(), Value::Unset))
}

/// Returns the first of the variables, in the order of either, that `counts` and differs.
fn variables(new: &[Variable], old: &[Variable], counts: &dyn Fn(&str) -> bool) -> Option<Miss> {
    for after in new.iter().filter(|variable| counts(&variable.name)) {
        let Some(before) = old.iter().find(|before| before.name == after.name) else {
            return Some(variable(&after.name, after.arg, Value::Unset, after.value.shown()));
        };
        if after.value.same(&before.value) == Some(false) {
            return Some(variable(&after.name, after.arg, before.value.shown(), after.value.shown()));
        }
    }
    let gone = |before: &&Variable| counts(&before.name) && !new.iter().any(|after| after.name == before.name);
    if let Some(before) = old.iter().find(gone) {
        return Some(variable(&before.name, before.arg, before.value.shown(), Value::Unset));
    }
    let names = |all: &[Variable]| -> Vec<String> {
        all.iter().map(|one| one.name.clone()).filter(|name| counts(name)).collect()
    };
    let (old, new) = (names(old), names(new));
    (old != new).then(|| Miss::Setting {
        name: "the order of the variables".to_owned(),
        old: Value::Text(old.join(", ")),
        new: Value::Text(new.join(", ")),
    })
}

/// Returns that SHELL is another, if it is just that: the same command is given to another program.
fn shell(field: &Field, old: &Value, new: &Value) -> Option<Miss> {
    let ("command", Value::Text(old), Value::Text(new)) = (field.name.as_str(), old, new) else { return None };
    let ((old_shell, old), (new_shell, new)) = (by_shell(old)?, by_shell(new)?);
    (old == new && old_shell != new_shell).then(|| Miss::Setting {
        name: "SHELL".to_owned(),
        old: Value::Text(old_shell),
        new: Value::Text(new_shell),
    })
}

/// Takes the words of a command apart as `graph::describe` writes them: what may be a shell, and what it is given.
fn by_shell(words: &str) -> Option<(String, String)> {
    if !words.starts_with('[') {
        return Some((r#"["/bin/sh", "-c"]"#.to_owned(), words.to_owned()));
    }
    let mut words: Vec<String> = serde_json::from_str(words).ok()?;
    let command = words.pop()?;
    let shell: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    Some((format!("[{}]", shell.join(", ")), command))
}

fn variable(name: &str, arg: bool, old: Value, new: Value) -> Miss {
    let name = name.to_owned();
    if arg { Miss::Arg { name, old, new } } else { Miss::Env { name, old, new } }
}

/// Whether a text says `$NAME` or `${NAME`.
fn mentions(text: &str, name: &str) -> bool {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    text.split('$').skip(1).any(|after| {
        let after = after.strip_prefix('{').unwrap_or(after);
        after.strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_name))
    })
}

fn described(input: &Input, of: &Ingredients) -> String {
    match input {
        Input::Step(place) => of.steps.get(*place).map(|step| step.name.to_string()).unwrap_or_default(),
        Input::Image { name, .. } => format!("the image {name}"),
        Input::Nothing => "no files".to_owned(),
    }
}

/// Finds for each new step the old one that it was: stage by stage, those of the same name and platform first.
fn aligned(new: &Ingredients, old: &Ingredients) -> Vec<Option<usize>> {
    let (own, mut others) = (groups(new), groups(old));
    let mut found = vec![None; new.steps.len()];
    for ((stage, platform), places) in own {
        let exact = (stage.clone(), platform.clone());
        let key = if others.contains_key(&exact) {
            Some(exact)
        } else {
            // The same stage for another platform: that it is another is what is to be said.
            others.keys().find(|(name, _)| *name == stage).cloned()
        };
        let Some(theirs) = key.and_then(|key| others.remove(&key)) else { continue };
        let pairs = align(&lines(new, &places), &lines(old, &theirs));
        for (place, pair) in places.iter().zip(pairs) {
            found[*place] = pair.map(|pair| theirs[pair]);
        }
    }
    found
}

/// The steps of each stage for each platform.
fn groups(of: &Ingredients) -> BTreeMap<(String, String), Vec<usize>> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (place, step) in of.steps.iter().enumerate() {
        let for_what = step.name.platform.clone().unwrap_or_else(|| step.platform.clone());
        groups.entry((step.name.stage.clone(), for_what)).or_default().push(place);
    }
    groups
}

fn lines<'a>(of: &'a Ingredients, places: &[usize]) -> Vec<Line<'a>> {
    let line = |place: &usize| Line { title: &of.steps[*place].name.title, key: &of.steps[*place].key };
    places.iter().map(line).collect()
}

/// Returns a value as it is kept: hidden if it is a secret's or holds one, and shortened if it is long.
///
/// `digest` makes digests of long values, `sealed` those that mean something on this machine only.
#[must_use]
pub fn known(text: &str, secret: bool, digest: &dyn Fn(&str) -> String, sealed: &dyn Fn(&str) -> String) -> Known {
    if secret {
        return Known::Hidden { digest: Some(sealed(text)) };
    }
    if text.len() <= crate::ingredients::VALUE_BYTES_MAX {
        return Known::Text(text.to_owned());
    }
    Known::Long { start: text.chars().take(100).collect(), digest: digest(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> (Field, Value) {
        let value = Known::Text(text.to_owned());
        let shown = value.shown();
        (Field { mount: None, name: "command".to_owned(), value, text: true }, shown)
    }

    #[test]
    fn the_same_command_for_another_shell_is_another_shell() {
        let said = |old: &str, new: &str| {
            let ((_, old), (field, new)) = (command(old), command(new));
            shell(&field, &old, &new).map(|miss| miss.to_string())
        };
        assert_eq!(
            said("echo a", r#"["/bin/bash", "-o", "pipefail", "-c", "echo a"]"#).as_deref(),
            Some(r#"SHELL is `["/bin/bash", "-o", "pipefail", "-c"]`, and was `["/bin/sh", "-c"]`"#)
        );
        assert_eq!(
            said(r#"["a", "-c", "say \"x\""]"#, r#"["b", "-c", "say \"x\""]"#).as_deref(),
            Some(r#"SHELL is `["b", "-c"]`, and was `["a", "-c"]`"#)
        );
        assert_eq!(said("echo a", "echo b"), None);
        assert_eq!(said("echo a", r#"["/bin/bash", "-c", "echo b"]"#), None);
        assert_eq!(said("echo a", r#"["cut off, "ech..."#), None);
    }
}
