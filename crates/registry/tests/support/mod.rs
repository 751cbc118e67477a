//! What the tests of this folder share: a scripted server, a clock that only moves when told to, and images.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

pub mod image;
pub mod server;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stave_oci::{Platform, Reference};
use stave_registry::{Cancel, Client, Clock, Config, Environment, Limits};

/// Time that passes only in sleeps, which take none.
#[derive(Default)]
pub struct VirtualClock {
    now: Mutex<Duration>,
    slept: Mutex<Vec<Duration>>,
}

impl VirtualClock {
    /// The waits so far, in milliseconds.
    pub fn slept(&self) -> Vec<u64> {
        let slept = self.slept.lock().expect("no test thread panics");
        slept.iter().map(|wait| u64::try_from(wait.as_millis()).expect("it fits")).collect()
    }

    pub fn advance(&self, duration: Duration) {
        *self.now.lock().expect("no test thread panics") += duration;
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        *self.now.lock().expect("no test thread panics")
    }

    fn sleep(&self, duration: Duration, _: &Cancel) {
        self.slept.lock().expect("no test thread panics").push(duration);
        self.advance(duration);
    }

    fn chance(&self) -> u32 {
        0
    }
}

/// A home and an `/etc` of a test's own.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub clock: Arc<VirtualClock>,
    pub limits: Limits,
    auths: Mutex<Vec<String>>,
}

impl Bench {
    pub fn new() -> Self {
        let limits = Limits {
            connect_timeout: Duration::from_secs(20),
            first_byte_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(20),
            retries_max: 3,
            ..Limits::default()
        };
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let bench = Self { folder, clock: Arc::default(), limits, auths: Mutex::default() };
        let names = ["registry.test", "auth.test", "evil.test", "cdn.test", "plain.test"];
        bench.file("etc/hosts", &format!("127.0.0.1 localhost {}\n", names.join(" ")));
        bench.file("etc/resolv.conf", "nameserver 127.0.0.1\noptions attempts:1 timeout:1\n");
        bench
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has a parent")).expect("the folder can be made");
        std::fs::write(&path, text).expect("the file can be written");
        path
    }

    /// Adds credentials for `registry`; `auth` is base64.
    pub fn auth(&self, registry: &str, auth: &str) {
        self.auths.lock().expect("no test thread panics").push(format!(r#""{registry}":{{"auth":"{auth}"}}"#));
    }

    pub fn environment(&self) -> Environment {
        let auths = self.auths.lock().expect("no test thread panics").join(",");
        Environment {
            home: Some(self.folder.path().join("home")),
            http: stave_http::Environment {
                etc: Some(self.folder.path().join("etc")),
                ..stave_http::Environment::default()
            },
            docker_auth_config: Some(format!(r#"{{"auths":{{{auths}}}}}"#)),
            ..Environment::default()
        }
    }

    pub fn client(&self) -> Client {
        let config = Config::load(&self.environment()).expect("the configuration is valid");
        Client::new(config, self.limits.clone()).with_clock(self.clock.clone())
    }
}

pub fn reference(text: &str) -> Reference {
    text.parse().expect("the name is valid")
}

pub fn amd64() -> Platform {
    "linux/amd64".parse().expect("the platform is valid")
}

/// The error with all its causes, as a user sees it.
pub fn shown(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}
