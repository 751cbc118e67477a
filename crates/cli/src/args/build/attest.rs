//! `--attest`, `--provenance`, `--sbom`: what is to be said about the image.
//!
//! Reference: buildx, `util/buildflags/attests.go`: a truth value or a mode in place of fields.

use std::collections::BTreeMap;
use std::str::FromStr;

use stave_engine::{Attestations, ProvenanceOptions, SbomForm, SbomOptions};

use super::csv;
use super::value::truth;

/// What one of the options asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AttestArg {
    /// How the image was built, unless it is switched off.
    Provenance(Option<ProvenanceOptions>),
    /// What it is made of, unless it is switched off.
    Sbom(Option<SbomOptions>),
}

fn default_provenance() -> ProvenanceOptions {
    ProvenanceOptions {
        max: true,
        builder_id: String::new(),
        file_name: "provenance.json".to_owned(),
        reproducible: false,
        images_only: false,
        old_form: false,
        inline: false,
    }
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    truth(value).ok_or_else(|| format!("`{key}={value}`: expected `true` or `false`"))
}

/// Returns the fields of a value: `key=value`, or a key alone, which is `true`.
fn fields(text: &str) -> Result<Vec<(String, String)>, String> {
    let split = |field: String| match field.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (field, "true".to_owned()),
    };
    Ok(csv::fields(text)?.into_iter().filter(|field| !field.is_empty()).map(split).collect())
}

/// Reads `--provenance`.
pub(crate) fn provenance(text: &str) -> Result<AttestArg, String> {
    match text {
        "min" => of_provenance(vec![("mode".to_owned(), "min".to_owned())]),
        "max" => of_provenance(vec![("mode".to_owned(), "max".to_owned())]),
        text => match truth(text) {
            Some(on) => of_provenance(vec![("disabled".to_owned(), (!on).to_string())]),
            None => of_provenance(fields(text)?),
        },
    }
}

/// Reads `--sbom`.
pub(crate) fn sbom(text: &str) -> Result<AttestArg, String> {
    match truth(text) {
        Some(on) => of_sbom(vec![("disabled".to_owned(), (!on).to_string())]),
        None => of_sbom(fields(text)?),
    }
}

impl FromStr for AttestArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (types, rest): (Vec<_>, Vec<_>) = fields(text)?.into_iter().partition(|(key, _)| key == "type");
        match types.as_slice() {
            [(_, kind)] if kind == "provenance" => of_provenance(rest),
            [(_, kind)] if kind == "sbom" => of_sbom(rest),
            [(_, kind)] => {
                Err(format!("nothing of the type `{kind}` can be attested: expected `provenance` or `sbom`"))
            }
            _ => Err("expected one `type=provenance` or `type=sbom`".to_owned()),
        }
    }
}

fn of_provenance(fields: Vec<(String, String)>) -> Result<AttestArg, String> {
    let mut options = default_provenance();
    let mut disabled = false;
    for (key, value) in fields {
        match key.as_str() {
            "mode" => {
                options.max = match value.as_str() {
                    "min" => false,
                    "max" => true,
                    _ => return Err(format!("`mode={value}`: expected `min` or `max`")),
                }
            }
            "builder-id" => options.builder_id = value,
            "filename" if is_file_name(&value) => options.file_name = value,
            "filename" => return Err(format!("`filename={value}`: expected a name without `/`")),
            "reproducible" => options.reproducible = switch(&key, &value)?,
            "inline-only" => options.images_only = switch(&key, &value)?,
            "version" => {
                options.old_form = match value.as_str() {
                    "v1" => false,
                    "v0.2" => true,
                    _ => return Err(format!("`version={value}`: expected `v1` or `v0.2`")),
                }
            }
            "inline" => options.inline = switch(&key, &value)?,
            "disabled" => disabled = switch(&key, &value)?,
            _ => {
                return Err(unknown(
                    &key,
                    "mode, builder-id, filename, reproducible, inline-only, version, inline, disabled",
                ));
            }
        }
    }
    Ok(AttestArg::Provenance((!disabled).then_some(options)))
}

fn of_sbom(fields: Vec<(String, String)>) -> Result<AttestArg, String> {
    let mut options = SbomOptions { form: SbomForm::Spdx, generator: None, parameters: BTreeMap::new(), inline: false };
    let mut disabled = false;
    for (key, value) in fields {
        match key.as_str() {
            "format" => {
                options.form = match value.as_str() {
                    "spdx" | "spdx-json" => SbomForm::Spdx,
                    "cyclonedx-1.5" => SbomForm::Cyclone15,
                    "cyclonedx" | "cyclonedx-json" | "cyclonedx-1.6" => SbomForm::Cyclone16,
                    _ => return Err(format!("`format={value}`: expected `spdx`, `cyclonedx` or `cyclonedx-1.5`")),
                }
            }
            "generator" => options.generator = Some(value).filter(|name| !name.is_empty()),
            "inline" => options.inline = switch(&key, &value)?,
            "disabled" => disabled = switch(&key, &value)?,
            _ => drop(options.parameters.insert(key.to_uppercase(), value)),
        }
    }
    if options.generator.is_none()
        && let Some(name) = options.parameters.keys().next()
    {
        return Err(unknown(&name.to_lowercase(), "format, generator, inline, disabled"));
    }
    if options.generator.is_some() && options.form != SbomForm::Spdx {
        return Err("`format` is that of the scanner that is built in: leave it out, or `generator`".to_owned());
    }
    Ok(AttestArg::Sbom((!disabled).then_some(options)))
}

fn unknown(key: &str, known: &str) -> String {
    format!("no field is named `{key}`: expected one of {known}")
}

fn is_file_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', '\0']) && text != "." && text != ".."
}

/// Puts together what the options ask for; of each kind the last counts.
pub(crate) fn all(args: impl IntoIterator<Item = AttestArg>) -> Attestations {
    let mut all = Attestations::default();
    for arg in args {
        match arg {
            AttestArg::Provenance(options) => all.provenance = options,
            AttestArg::Sbom(options) => all.sbom = options,
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truth_value_or_a_mode_stands_for_fields() {
        let mode = |text: &str| match provenance(text).expect(text) {
            AttestArg::Provenance(options) => options.map(|options| options.max),
            AttestArg::Sbom(_) => panic!("it is provenance"),
        };
        assert_eq!(
            (mode("true"), mode("max"), mode("mode=min"), mode("false")),
            (Some(true), Some(true), Some(false), None)
        );
        assert_eq!(sbom("0"), Ok(AttestArg::Sbom(None)));
        assert!(matches!("type=sbom,format=cyclonedx".parse(), Ok(AttestArg::Sbom(Some(_)))));
    }

    #[test]
    fn what_is_not_known_is_said_by_its_name() {
        for (text, said) in [
            ("type=x", "`x`"),
            ("type=provenance,a=b", "`a`"),
            ("mode=min", "type="),
            ("type=sbom,format=x", "`format=x`"),
        ] {
            let error = text.parse::<AttestArg>().expect_err(text);
            assert!(error.contains(said), "{error}");
        }
        assert!(provenance("filename=../x").is_err());
    }
}
