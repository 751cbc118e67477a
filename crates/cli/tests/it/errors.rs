//! `docs/errors`: each code has a page, and the message on it is the one that a user gets.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use stave_testkit::{Bench, Image, LoopbackRegistry};

/// Codes whose examples would not fit on a page: what it takes, and a command that makes the file.
const MADE: [(&str, &str, &str); 3] = [
    (
        "D005",
        "It takes a line of more than 65,535 bytes.",
        "(echo 'FROM scratch'; printf 'LABEL a='; head -c 70000 /dev/zero | tr '\\0' a) > D005.Dockerfile",
    ),
    (
        "D046",
        "It takes a file of more than 16 MiB, most often another one than was meant.",
        "yes '# a line' | head -c 17000000 > D046.Dockerfile",
    ),
    (
        "D121",
        "It takes more than 4,096 stages, or variables of many megabytes.",
        "yes 'FROM scratch' | head -n 5000 > D121.Dockerfile",
    ),
];

/// The example of a code, and how it is shown: as a file, or with the command that makes it. Leaves the file in the bench.
fn example(bench: &Bench, code: &str) -> String {
    if let Some((_, what, command)) = MADE.iter().find(|(known, ..)| *known == code) {
        let mut shell = bench.other(Path::new("/bin/sh"));
        shell.args(["-c", command]).env("PATH", "/usr/bin:/bin");
        bench.finish(shell).success();
        return format!("\n{what}\n\n## Example\n\n```sh\n{command}\n```\n");
    }
    let text = fs::read_to_string(docs().join(format!("examples/{code}.Dockerfile")))
        .unwrap_or_else(|error| panic!("{code} has no example: {error}"));
    bench.file(&format!("{code}.Dockerfile"), &text);
    format!("\n## Example\n\n```dockerfile\n{text}```\n")
}

/// What is on the command line beside the file.
fn options(code: &str) -> &'static [&'static str] {
    match code {
        "D101" => &["--target", "buidler"],
        "D127" => &["--source-policy-file", "policy.json"],
        "D128" => &["--locked"],
        _ => &[],
    }
}

/// The file that an example needs beside the Dockerfile: its name, its language, its text.
fn beside(code: &str) -> Option<(&'static str, &'static str, &'static str)> {
    const POLICY: &str = "\
{
  \"rules\": [
    { \"action\": \"DENY\", \"selector\": { \"identifier\": \"docker-image://docker.io/library/alpine:*\" } }
  ]
}
";
    match code {
        "D127" => Some(("policy.json", "json", POLICY)),
        "D128" => Some(("stave.lock", "toml", "version = 1\n")),
        _ => None,
    }
}

/// A bench whose registry has an image with a wrong trigger, and an image of Go's.
fn bench() -> (Bench, LoopbackRegistry) {
    let registry = LoopbackRegistry::start();
    registry.put("library/golang", "1", &Image::new());
    let mut image = Image::new();
    image.config.config.on_build = vec!["COPY".to_owned()];
    registry.put("example/with-a-wrong-trigger", "latest", &image);
    let bench = Bench::new().with_registry(&registry);
    (bench, registry)
}

fn docs() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors"))
}

/// The codes of the index with their meanings.
fn codes() -> BTreeMap<String, String> {
    let index = fs::read_to_string(docs().join("README.md")).expect("the index is there");
    let rows = index.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    let codes = rows.filter_map(|(code, meaning)| {
        let code = code.trim_start_matches('[').split(']').next()?;
        code.strip_prefix('D')?.parse::<u32>().ok()?;
        Some((code.to_owned(), meaning.to_owned()))
    });
    codes.collect()
}

#[test]
fn each_code_has_a_page_with_the_message_that_a_user_gets() {
    let (bench, registry) = bench();
    let mut wrong = Vec::new();
    for (code, meaning) in codes() {
        let mut page = format!("# {code}\n\n{meaning}\n");
        let shown = example(&bench, &code);
        let name = format!("{code}.Dockerfile");
        let beside = beside(&code).map(|(file, language, text)| {
            bench.file(file, text);
            format!("\nBeside it, in `{file}`:\n\n```{language}\n{text}```\n")
        });
        let mut args = vec!["build", "-f", &name];
        args.extend(options(&code));
        args.push(".");
        let output = bench.run(&args);
        assert!(output.stderr.contains(&format!("[{code}]")), "the example of {code} says:\n{}", output.stderr);
        let lines = output.stderr.lines().map(str::trim_end);
        let message: Vec<&str> = lines
            .skip_while(|line| !line.starts_with("error[") && !line.starts_with("warning["))
            .take_while(|line| !line.starts_with('#') && !line.starts_with("built "))
            .collect();
        let command = args.join(" ");
        let message =
            message.join("\n").replace(&format!("http://{}", registry.host()), "https://registry-1.docker.io");
        let shown = format!(
            "{shown}{}\n```console\n$ stave {command}\n{}\n```\n",
            beside.unwrap_or_default(),
            message.trim_end()
        );
        page.push_str(&shown);
        let path = docs().join(format!("{code}.md"));
        if fs::read_to_string(&path).ok().as_deref() != Some(&page) {
            if std::env::var_os("BLESS").is_some() {
                fs::write(&path, &page).expect("the page can be written");
            } else {
                wrong.push(code);
            }
        }
    }
    assert!(wrong.is_empty(), "pages that do not say what stave says: {wrong:?}; run this test with BLESS=1");
}

#[test]
fn there_are_no_pages_of_codes_that_do_not_exist() {
    let codes = codes();
    for entry in fs::read_dir(docs()).expect("a directory").chain(fs::read_dir(docs().join("examples")).expect("one")) {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let code = name.split('.').next().unwrap_or_default();
        let known = codes.contains_key(code) || name == "README.md" || name == "examples";
        assert!(known, "docs/errors has {name}, and there is no such code");
    }
}
