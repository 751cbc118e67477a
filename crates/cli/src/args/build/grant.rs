//! What of the caller's the steps may use: `--secret`, `--ssh`, `--allow`.

use std::path::PathBuf;
use std::str::FromStr;

use stave_engine::Entitlement;

use super::csv;

/// One `--secret`: its id, and where its bytes are.
///
/// Reference: `docker buildx build --secret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretArg {
    pub(crate) id: String,
    pub(crate) place: SecretPlace,
}

/// Where the bytes of a secret are, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretPlace {
    /// In a file.
    File(PathBuf),
    /// In the environment, under this name.
    Variable(String),
    /// In the environment under the secret's own id; if there is no such variable, in a file of that name.
    Anywhere,
}

impl FromStr for SecretArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut id, mut kind, mut source, mut variable) = (None, None, None, None);
        for field in csv::fields(text)? {
            let (key, value) = csv::pair(&field)?;
            match key.as_str() {
                "id" => id = Some(value.to_owned()),
                "src" | "source" => source = Some(value.to_owned()),
                "env" => variable = Some(value.to_owned()),
                "type" if value == "file" || value == "env" => kind = Some(value.to_owned()),
                "type" => return Err(format!("no secret is of type `{value}`: expected `file` or `env`")),
                _ => return Err(format!("secrets have no `{key}`: expected `id`, `src`, `env` or `type`")),
            }
        }
        let id = id.filter(|id| !id.is_empty()).ok_or("the secret has no `id=`")?;
        if kind.as_deref() == Some("env") && variable.is_none() {
            variable = source.take();
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let place = match (given(source), given(variable), kind.as_deref()) {
            (Some(_), Some(_), _) => return Err("a secret is in a file (`src=`) or in a variable (`env=`)".to_owned()),
            (None, Some(_), Some("file")) => return Err("a secret of type `file` has no `env=`".to_owned()),
            (Some(file), None, _) => SecretPlace::File(file.into()),
            (None, Some(name), _) => SecretPlace::Variable(name),
            (None, None, Some("file")) => SecretPlace::File(id.clone().into()),
            (None, None, Some(_)) => SecretPlace::Variable(id.clone()),
            (None, None, None) => SecretPlace::Anywhere,
        };
        Ok(Self { id, place })
    }
}

/// One `--ssh`: its id, and the socket or the keys; the caller's agent if there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SshArg {
    pub(crate) id: String,
    pub(crate) paths: Vec<PathBuf>,
}

impl FromStr for SshArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, paths) = text.split_once('=').map_or((text, None), |(id, paths)| (id, Some(paths)));
        if id.is_empty() {
            return Err("the id is missing: expected `default` or `ID=SOCKET`".to_owned());
        }
        let paths = match paths {
            None | Some("") => Vec::new(),
            Some(paths) => csv::fields(paths)?,
        };
        if paths.iter().any(String::is_empty) {
            return Err(format!("one of the paths of `{text}` is empty"));
        }
        Ok(Self { id: id.to_owned(), paths: paths.into_iter().map(PathBuf::from).collect() })
    }
}

/// One `--allow`: what steps or outputs may that ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AllowArg {
    /// What steps may.
    Step(Entitlement),
    /// Outputs of type `local` may remove files.
    LocalDelete,
}

impl AllowArg {
    /// Returns what steps may by it.
    pub(crate) fn of_steps(&self) -> Option<Entitlement> {
        match self {
            Self::Step(entitlement) => Some(entitlement.clone()),
            Self::LocalDelete => None,
        }
    }

    /// Whether it lets outputs remove files.
    pub(crate) fn is_local_delete(&self) -> bool {
        *self == Self::LocalDelete
    }
}

impl FromStr for AllowArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "security.insecure" => Ok(Self::Step(Entitlement::SecurityInsecure)),
            "network.host" => Ok(Self::Step(Entitlement::NetworkHost)),
            "device" => Ok(Self::Step(Entitlement::Device)),
            "buildx.local.delete" | "local.delete" => Ok(Self::LocalDelete),
            _ => match text.strip_prefix("device=") {
                Some("") => Err("`device=` names no device: expected `device=VENDOR/CLASS=NAME`".to_owned()),
                Some(name) => Ok(Self::Step(Entitlement::OneDevice(name.to_owned()))),
                None => Err(
                    "expected `security.insecure`, `network.host`, `device`, `device=NAME` or `buildx.local.delete`"
                        .to_owned(),
                ),
            },
        }
    }
}
