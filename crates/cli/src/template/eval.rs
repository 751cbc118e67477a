//! Nodes and a value in, text out.

use std::cmp::Ordering;

use serde_json::Value;

use super::print::printf;
use super::{Call, Node, Pipeline, TemplateError, Term, TermKind};

/// Largest text that a template may produce, in bytes.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

pub(super) fn render(nodes: &[Node], data: &Value) -> Result<String, TemplateError> {
    let mut scope = Scope { out: String::new(), variables: vec![(String::new(), data.clone())] };
    scope.nodes(nodes, data)?;
    Ok(scope.out)
}

struct Scope {
    out: String,
    /// Innermost last. `$` is the variable with the empty name.
    variables: Vec<(String, Value)>,
}

impl Scope {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        for node in nodes {
            self.node(node, dot)?;
            if self.out.len() > OUTPUT_BYTES_MAX {
                return Err(TemplateError::new(1, "the output is too long"));
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.found(pipeline, dot)?;
                match (pipeline.variables.first(), value) {
                    (Some(name), value) => self.variables.push((name.clone(), value.unwrap_or_default())),
                    (None, Some(value)) => self.out.push_str(&text_of(&value)),
                    (None, None) => self.out.push_str("<no value>"),
                }
            }
            Node::If { condition, then, otherwise } => {
                let branch = |value: &Value| if is_true(value) { then } else { otherwise };
                return self.inner(condition, dot, |scope, value| scope.nodes(branch(value), dot));
            }
            Node::With { value, then, otherwise } => {
                return self.inner(value, dot, |scope, value| {
                    let (branch, dot) = if is_true(value) { (then, value) } else { (otherwise, dot) };
                    scope.nodes(branch, dot)
                });
            }
            Node::Range { list, body, otherwise } => return self.range(list, body, otherwise, dot),
        }
        Ok(())
    }

    /// Runs `body` with the value of `pipeline`, and its variable if it declares one; both are gone afterwards.
    fn inner(
        &mut self,
        pipeline: &Pipeline,
        dot: &Value,
        body: impl FnOnce(&mut Self, &Value) -> Result<(), TemplateError>,
    ) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        let value = self.pipeline(pipeline, dot)?;
        if let Some(name) = pipeline.variables.first() {
            self.variables.push((name.clone(), value.clone()));
        }
        body(self, &value)?;
        self.variables.truncate(depth);
        Ok(())
    }

    fn range(&mut self, list: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let items: Vec<(Value, Value)> = match self.pipeline(list, dot)? {
            Value::Null => Vec::new(),
            Value::Array(items) => items.into_iter().enumerate().map(|(at, item)| (Value::from(at), item)).collect(),
            Value::Object(fields) => sorted(&fields).map(|(key, item)| (Value::from(key), item.clone())).collect(),
            other => {
                let place = list.commands[0].place;
                return Err(TemplateError::new(place, format!("cannot range over {}", kind_of(&other))));
            }
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in &items {
            let depth = self.variables.len();
            match list.variables.as_slice() {
                [] => {}
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key.clone()));
                    self.variables.push((second.clone(), item.clone()));
                }
            }
            self.nodes(body, item)?;
            self.variables.truncate(depth);
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        Ok(self.found(pipeline, dot)?.unwrap_or_default())
    }

    /// Returns the value of a pipeline; `None` is what a map of anybody's keys does not have.
    fn found(&self, pipeline: &Pipeline, dot: &Value) -> Result<Option<Value>, TemplateError> {
        let mut last: Option<Option<Value>> = None;
        for call in &pipeline.commands {
            last = Some(self.call(call, dot, last.map(Option::unwrap_or_default))?);
        }
        Ok(last.expect("the parser makes no empty pipeline"))
    }

    fn call(&self, call: &Call, dot: &Value, piped: Option<Value>) -> Result<Option<Value>, TemplateError> {
        let first = &call.words[0];
        if let TermKind::Function(name) = &first.kind {
            let mut arguments = Vec::with_capacity(call.words.len());
            for word in &call.words[1..] {
                arguments.push(self.term(word, dot)?.unwrap_or_default());
            }
            arguments.extend(piped);
            let value = function(name, &arguments).map_err(|message| TemplateError::new(call.place, message))?;
            return fields_of(value, first);
        }
        match (call.words.get(1), piped) {
            // Docker's one method with an argument.
            (Some(second), None) if first.fields.last().is_some_and(|field| field == "Label") => {
                match (self.term(first, dot)?, self.term(second, dot)?) {
                    (Some(Value::Object(labels)), Some(Value::String(name))) => {
                        Ok(Some(labels.get(&name).cloned().unwrap_or_else(|| Value::from(""))))
                    }
                    // The head of its column.
                    (Some(Value::String(_)), Some(name)) => Ok(Some(name)),
                    _ => Err(TemplateError::new(second.place, "`.Label` takes the name of a label")),
                }
            }
            (Some(second), _) => Err(TemplateError::new(second.place, "a value takes no arguments")),
            (None, Some(_)) => Err(TemplateError::new(first.place, "a value cannot take the result of a pipe")),
            (None, None) => self.term(first, dot),
        }
    }

    fn term(&self, term: &Term, dot: &Value) -> Result<Option<Value>, TemplateError> {
        let value = match &term.kind {
            TermKind::Dot => dot.clone(),
            TermKind::Literal(value) => value.clone(),
            TermKind::Parens(pipeline) => self.pipeline(pipeline, dot)?,
            TermKind::Variable(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => value.clone(),
                None => return Err(TemplateError::new(term.place, format!("no variable is named `${name}`"))),
            },
            TermKind::Function(name) => {
                function(name, &[]).map_err(|message| TemplateError::new(term.place, message))?
            }
        };
        fields_of(value, term)
    }
}

fn fields_of(mut value: Value, term: &Term) -> Result<Option<Value>, TemplateError> {
    let mut before = "";
    for (at, name) in term.fields.iter().enumerate() {
        value = match value {
            Value::Object(mut fields) => {
                let key = if fields.contains_key(name) { Some(name.clone()) } else { key_of(&fields, name) };
                match key.and_then(|key| fields.swap_remove(&key)).or_else(|| omitted(&fields, name)) {
                    Some(field) => field,
                    None if MAPS.contains(&before) && at + 1 == term.fields.len() => return Ok(None),
                    None => {
                        let known: Vec<&str> = sorted(&fields).map(|(key, _)| key).take(FIELDS_SHOWN_MAX).collect();
                        let more = if fields.len() > known.len() { ", and more" } else { "" };
                        let message = format!("there is no field `{name}` here, only {}{more}", known.join(", "));
                        return Err(TemplateError::new(term.place, message));
                    }
                }
            }
            Value::Null if MAPS.contains(&before) && at + 1 == term.fields.len() => return Ok(None),
            other => {
                let message = format!("there is no field `{name}` in {}", kind_of(&other));
                return Err(TemplateError::new(term.place, message));
            }
        };
        before = name;
    }
    Ok(Some(value))
}

/// Most fields that an error names.
const FIELDS_SHOWN_MAX: usize = 60;

/// Fields whose own fields have anybody's names: one that is not there has no value, and is no mistake.
const MAPS: &[&str] = &[
    "Labels",
    "Annotations",
    "ExposedPorts",
    "Volumes",
    "Ports",
    "PortBindings",
    "Networks",
    "Options",
    "labels",
    "annotations",
];

/// Fields that Docker leaves out of its JSON where they are empty, and that its templates have all the same: a field that
/// is always beside it, its name, and what it is then.
///
/// Reference: moby, `api/types/container/config.go`, the fields with `omitempty`; Go's zero values.
const OMITTED: &[(&str, &str, Empty)] = &[
    ("Env", "Hostname", Empty::Text),
    ("Env", "Domainname", Empty::Text),
    ("Env", "AttachStdin", Empty::False),
    ("Env", "AttachStdout", Empty::False),
    ("Env", "AttachStderr", Empty::False),
    ("Env", "Tty", Empty::False),
    ("Env", "OpenStdin", Empty::False),
    ("Env", "StdinOnce", Empty::False),
    ("Env", "ArgsEscaped", Empty::False),
    ("Env", "NetworkDisabled", Empty::False),
    ("Env", "Image", Empty::Text),
    ("Env", "MacAddress", Empty::Text),
    ("Env", "ExposedPorts", Empty::Map),
    ("Env", "Healthcheck", Empty::Nothing),
    ("Env", "StopSignal", Empty::Text),
    ("Env", "StopTimeout", Empty::Nothing),
    ("Env", "Shell", Empty::List),
    ("OOMKilled", "Health", Empty::Nothing),
    ("HostConfig", "SizeRw", Empty::Nothing),
    ("HostConfig", "SizeRootFs", Empty::Nothing),
];

/// Go's zero values.
#[derive(Clone, Copy)]
enum Empty {
    Text,
    False,
    List,
    Map,
    Nothing,
}

fn omitted(fields: &serde_json::Map<String, Value>, name: &str) -> Option<Value> {
    let row = OMITTED.iter().find(|(beside, field, _)| *field == name && fields.contains_key(*beside));
    row.map(|(.., empty)| match empty {
        Empty::Text => Value::from(""),
        Empty::False => Value::from(false),
        Empty::List => Value::Array(Vec::new()),
        Empty::Map => Value::Object(serde_json::Map::new()),
        Empty::Nothing => Value::Null,
    })
}

/// Returns the key that a field of Go's name has in JSON documents of the image formats: `mediaType` of `MediaType`,
/// `diff_ids` of `DiffIDs`, `os.version` of `OSVersion`.
fn key_of(fields: &serde_json::Map<String, Value>, name: &str) -> Option<String> {
    let letters = |text: &str| -> String {
        text.chars().filter(|letter| !matches!(letter, '_' | '.')).map(|letter| letter.to_ascii_lowercase()).collect()
    };
    if !name.starts_with(|first: char| first.is_ascii_uppercase()) {
        return None;
    }
    let lower = |key: &&String| key.starts_with(|first: char| first.is_ascii_lowercase());
    fields.keys().filter(lower).find(|key| letters(key) == letters(name)).cloned()
}

fn sorted(fields: &serde_json::Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    let mut pairs: Vec<_> = fields.iter().map(|(key, value)| (key.as_str(), value)).collect();
    pairs.sort_by_key(|(key, _)| *key);
    pairs.into_iter()
}

pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "an absent value",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Go's truth: false, 0, nil and what is empty are false.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Go's `%v`.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(text_of).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let pairs: Vec<_> = sorted(fields).map(|(key, value)| format!("{key}:{}", text_of(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

fn function(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let text = |at: usize| match arguments.get(at) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(format!("`{name}` expects a text as argument {}, not {}", at + 1, kind_of(other))),
        None => Err(format!("`{name}` needs {} arguments", at + 1)),
    };
    let one = || arguments.first().ok_or_else(|| format!("`{name}` needs an argument"));
    let count_is = |wanted: usize| match arguments.len() {
        count if count == wanted => Ok(()),
        count => Err(format!("`{name}` takes {wanted} arguments, not {count}")),
    };
    Ok(match name {
        "json" => count_is(1).map(|()| Value::from(arguments[0].to_string()))?,
        "len" => Value::from(length(one()?)?),
        "index" => index(one()?, &arguments[1..])?,
        "slice" => slice(one()?, &arguments[1..])?,
        "upper" => text(0)?.to_uppercase().into(),
        "lower" => text(0)?.to_lowercase().into(),
        "title" => title(text(0)?).into(),
        "split" => text(0)?.split(text(1)?).map(Value::from).collect(),
        "join" => match one()? {
            Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(text(1)?).into(),
            Value::Null => Value::from(""),
            other => return Err(format!("`join` expects a list, not {}", kind_of(other))),
        },
        "print" => arguments.iter().map(text_of).collect::<String>().into(),
        "println" => (arguments.iter().map(text_of).collect::<Vec<_>>().join(" ") + "\n").into(),
        "printf" => printf(text(0)?, &arguments[1..])?.into(),
        "not" => Value::Bool(!is_true(one()?)),
        "and" => {
            arguments.iter().find(|value| !is_true(value)).or(arguments.last()).ok_or("`and` needs arguments")?.clone()
        }
        "or" => {
            arguments.iter().find(|value| is_true(value)).or(arguments.last()).ok_or("`or` needs arguments")?.clone()
        }
        "eq" if arguments.len() >= 2 => Value::Bool(arguments[1..].contains(&arguments[0])),
        "ne" => count_is(2).map(|()| Value::Bool(arguments[0] != arguments[1]))?,
        "lt" => count_is(2).and_then(|()| compare(arguments)).map(|order| Value::Bool(order.is_lt()))?,
        "le" => count_is(2).and_then(|()| compare(arguments)).map(|order| Value::Bool(order.is_le()))?,
        "gt" => count_is(2).and_then(|()| compare(arguments)).map(|order| Value::Bool(order.is_gt()))?,
        "ge" => count_is(2).and_then(|()| compare(arguments)).map(|order| Value::Bool(order.is_ge()))?,
        "eq" => return Err("`eq` needs at least 2 arguments".to_owned()),
        _ => {
            return Err(format!(
                "no function is named `{name}`: there are json, index, slice, len, join, split, upper, lower, title, print, \
                 println, printf, eq, ne, lt, le, gt, ge, and, or, not"
            ));
        }
    })
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(fields) => Ok(fields.len()),
        other => Err(format!("{} has no length", kind_of(other))),
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            // As Go for a map of texts: what is not there is empty.
            (Value::Object(fields), Value::String(key)) => fields.get(key).cloned().unwrap_or_else(|| Value::from("")),
            (Value::Array(items), Value::Number(at)) => {
                let item = at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?));
                item.cloned().ok_or_else(|| format!("index {at} is out of range: there are {} items", items.len()))?
            }
            (Value::Null, Value::String(_)) => Value::from(""),
            (other, key) => return Err(format!("cannot index {} by {}", kind_of(other), kind_of(key))),
        };
    }
    Ok(value)
}

/// Go's `slice`: a part of a list or a text, by its bytes.
fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        other => return Err(format!("`slice` expects a list or a text, not {}", kind_of(other))),
    };
    let bound = |at: usize, without: usize| match bounds.get(at) {
        None => Ok(without),
        Some(bound) => {
            let number = bound.as_u64().and_then(|bound| usize::try_from(bound).ok());
            number
                .filter(|number| *number <= length)
                .ok_or_else(|| format!("index {} is out of range: there are {length} items", text_of(bound)))
        }
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if bounds.len() > 2 {
        return Err("`slice` takes two indexes at most".to_owned());
    }
    if from > to {
        return Err(format!("`slice`: index {from} is after {to}"));
    }
    Ok(match value {
        Value::Array(items) => items[from..to].to_vec().into(),
        other => String::from_utf8_lossy(&text_of(other).as_bytes()[from..to]).into_owned().into(),
    })
}

fn compare(arguments: &[Value]) -> Result<Ordering, String> {
    match (&arguments[0], &arguments[1]) {
        (Value::Number(left), Value::Number(right)) => {
            Ok(left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(Ordering::Equal))
        }
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        (left, right) => Err(format!("cannot compare {} with {}", kind_of(left), kind_of(right))),
    }
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut start = true;
    for character in text.chars() {
        if start {
            out.extend(character.to_uppercase());
        } else {
            out.push(character);
        }
        start = character.is_whitespace();
    }
    out
}
