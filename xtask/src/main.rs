//! Automation of this repository: tests, demo, benchmarks, checks.
//!
//! Turns `cargo xtask COMMAND` into runs of cargo, of `stave` and of Debian's programs. It knows the product only as
//! a binary. It writes below cargo's target directory and into temporary directories, nowhere else.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for people talks to them")]

mod bench;
mod binary;
mod book;
mod conformance;
mod demo;
mod failure;
mod interop;
mod packages;
mod place;
mod run;
mod servers;
mod standins;
mod stave;
mod suite;
mod table;
mod tidy;

use failure::{Failure, Result};
use place::Place;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  test       everything that CI checks, or only the steps that are named; installs what is missing
  build      make the optimised, static `stave` and print where it is
  tidy       what the compiler does not check
  generate   write the files that are made of the code: docs/errors/README.md, docs/SUMMARY.md
  book       build the book of docs, follow its links, and print where it is
  metrics    lengths of files and functions
  demo       build the story both ways, run it, show sizes and times
  bench      measure stave and the peers of this machine [--quick] [--row NAME]...
  conformance
             build the corpus with stave and the peers, compare, write docs/conformance.md [--record] [CASE]...
  interop    exchange images with the programs of this machine, write docs/interop.md
  standins   make the stand-in base images and serve them until Ctrl-C
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result {
    let (command, rest) = args.split_first().map_or(("help", args), |(first, rest)| (first.as_str(), rest));
    match command {
        "build" => {
            println!("{}", binary::build(&Place::find()?, binary::Profile::Release)?.display());
            Ok(())
        }
        "book" => {
            println!("{}", book::build(&Place::find()?)?.display());
            Ok(())
        }
        "demo" => demo::command(&Place::find()?),
        "bench" => bench::command(&Place::find()?, rest),
        "test" => suite::command(&Place::find()?, rest),
        "tidy" => tidy::command(&Place::find()?),
        "generate" => tidy::generate_command(&Place::find()?),
        "metrics" => tidy::metrics_command(&Place::find()?),
        "conformance" => conformance::command(&Place::find()?, rest),
        "interop" => interop::command(&Place::find()?),
        "standins" => standins::command(&Place::find()?),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure::new(format!("no command is named `{other}`\n\n{HELP}"))),
    }
}
