//! The shell as a program: what lines do.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Gives the shell lines, with nothing but its own tools.
fn run(directory: &Path, script: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stave-shell"));
    command.current_dir(directory).env_clear().env("PATH", "/nowhere").env("A", "x");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("asked for").write_all(script.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn said(directory: &Path, script: &str) -> String {
    String::from_utf8(run(directory, script).stdout).expect("text")
}

#[test]
fn lists_pipes_and_redirections_do_what_they_say() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let said = |script: &str| said(directory.path(), script);
    assert_eq!(said("A=b; echo $A c | grep -v x > out && echo again >> out; cat out\n"), "b c\nagain\n");
    assert_eq!(said("false || echo $?; ! true && echo never; echo $?\n"), "1\n1\n");
    assert_eq!(said("ls /none 2> err; wc -l < err; ls /none 2>&1 | wc -l\n"), "1\n1\n");
    assert_eq!(said("export B=1; env | sort; unset A; env | wc -l\n"), "A=x\nB=1\nPATH=/nowhere\n2\n");
    assert_eq!(said("echo 'a\nb' \"$A\" # c\n"), "a\nb x\n");
    assert_eq!(said("alias l=ls; touch f1 f2; l f*; cd /; pwd\n"), "f1\nf2\n/\n");
    assert_eq!(said("[ -f out ] && test 1 -lt 2 && echo yes; cat none | head -n 1; echo $?\n"), "yes\n0\n");
    for (script, code) in [
        ("exit 4; echo never\n", 4),
        ("/bin/sh -c 'exit 7'\n", 7),
        ("/bin/sh -c 'kill -9 $$'\n", 137),
        ("none\n", 127),
        ("if true\n", 2),
    ] {
        assert_eq!(run(directory.path(), script).status.code(), Some(code), "{script}");
    }
}

#[test]
fn files_are_copied_moved_found_and_removed() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let script = "mkdir -p a/b; echo x > a/b/f.txt; cp -r a c && mv c/b/f.txt g && ln -s g l && readlink l\n\
                  find . -name '*.txt' -type f; rm -r a c; ls; stat -x g 2>/dev/null; chmod 600 g; ls -l g\n";
    let said = said(directory.path(), script);
    assert!(said.starts_with("g\n./a/b/f.txt\ng\nl\ng: - "), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.starts_with("-rw-------   1")), "{said}");
}

#[test]
fn a_script_has_arguments_and_can_become_another_program() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::write(directory.path().join("script"), "echo $0 $1 $#\nexec /bin/echo 'an' \"end\"\necho never\n")
        .expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_stave-shell"));
    let output = command.current_dir(directory.path()).args(["script", "one", "two"]).output().expect("it starts");
    assert_eq!(String::from_utf8(output.stdout).expect("text"), "script one 2\nan end\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_stave-shell"));
    let output = command.args(["-c", "echo $1; exit 3", "name", "one"]).output().expect("it starts");
    assert_eq!((String::from_utf8(output.stdout).expect("text").as_str(), output.status.code()), ("one\n", Some(3)));
}
