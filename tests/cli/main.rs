//! The command as a person meets it: what it prints, word for word, and how it ends.
//!
//! `cases/` has one command each, run in `files/`. To write down what the command prints now, run the
//! tests with `TRYCMD=overwrite`; the difference is what to review.

mod documents;
#[path = "../mutations/generate.rs"]
mod generate;
mod mutations;
mod set;
mod transcripts;
mod untrusted;

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files() -> PathBuf {
    root().join("tests/cli/files")
}

#[test]
fn the_command_prints_what_it_printed_word_for_word() {
    trycmd::TestCases::new().case(root().join("tests/cli/cases/*.toml")).run();
}
