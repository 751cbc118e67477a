//! Processes for other platforms: they are given what runs them, and where there is nothing, the error says so.
//!
//! It knows no handlers itself: the sandbox looks at those of the kernel, once, and only when a process is for another
//! architecture.

use stave_oci::Platform;
use stave_sandbox::{MountSource, Running, SandboxError, StepIo, StepMount, StepSpec};

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// Starts a process of a step or of a container that is for `platform`.
    ///
    /// Errors: it cannot be started; nothing runs programs for the platform.
    pub(crate) fn spawn_for(
        &self,
        platform: &Platform,
        mut spec: StepSpec,
        io: StepIo,
    ) -> Result<Running, EngineError> {
        let host = Platform::host();
        let foreign = platform.architecture != host.architecture;
        let handler = if foreign { self.emulation().handler(&platform.architecture) } else { None };
        if let Some(handler) = handler
            && !handler.open
        {
            // The kernel will look for the interpreter where the process sees files.
            let path = handler.interpreter.to_string_lossy().into_owned();
            let source = MountSource::Host { path: path.clone(), writable: false };
            spec.mounts.push(StepMount::new(path, source));
        }
        let has_handler = handler.is_some();
        self.launcher()?.spawn(&spec, io).map_err(|error| match error {
            SandboxError::Exec { program, errno } if foreign && !has_handler && errno.is_not_executable() => {
                EngineError::NoEmulator { program, platform: platform.to_string(), host: host.to_string() }
            }
            error => error.into(),
        })
    }
}
