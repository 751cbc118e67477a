//! Makes the static shell that `stave debug` shows in images without one.
//!
//! It is another program than the one that is built, for no target of its own and linked in another way, which cargo cannot
//! say of a dependency: so the compiler is called here. The shell has no dependencies for that reason.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shell/src");
    println!("cargo::rerun-if-changed={}", source.display());
    println!("cargo::rerun-if-changed=build.rs");
    let output = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("static-shell");
    let compiler = env::var_os("RUSTC").expect("cargo sets it");
    let mut command = Command::new(compiler);
    command.arg(source.join("main.rs")).arg("-o").arg(&output);
    command.args(["--crate-name", "stave_shell", "--crate-type", "bin", "--edition", "2024"]);
    command.args(["--target", &env::var("TARGET").expect("cargo sets it")]);
    command.args([
        "-C",
        "opt-level=s",
        "-C",
        "lto=fat",
        "-C",
        "panic=abort",
        "-C",
        "strip=symbols",
        "-C",
        "codegen-units=1",
    ]);
    command.args(["-C", "target-feature=+crt-static", "-C", "relocation-model=static", "--cap-lints", "allow"]);
    let status = command.status().expect("the compiler can be run");
    assert!(
        status.success(),
        "the static shell cannot be compiled: {status} (a static libc is needed: libc6-dev of Debian, glibc-static of Fedora)"
    );
    println!("cargo::rustc-env=STAVE_STATIC_SHELL={}", output.display());
}
