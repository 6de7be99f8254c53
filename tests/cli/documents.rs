//! The documents say what the command does.

use std::process::Command;

use crate::{files, root};

#[test]
fn the_example_that_the_document_shows_is_the_one_that_it_runs() {
    let document = std::fs::read_to_string(root().join("docs/cli.md")).unwrap();
    let example = std::fs::read_to_string(files().join("checkout.yaml")).unwrap();
    assert!(document.contains(&format!("```yaml\n{example}```\n")));
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cohort")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The first words of the indented lines below a heading of a help text.
fn listed(help: &str, heading: &str) -> Vec<String> {
    let below = help.lines().skip_while(|line| *line != heading).skip(1);
    let words =
        below.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    words.map(str::to_owned).collect()
}

#[test]
fn every_command_and_every_flag_is_in_the_document() {
    let document = std::fs::read_to_string(root().join("docs/cli.md")).unwrap();
    let commands = listed(&help(&["-h"]), "Commands:");
    assert!(commands.len() >= 7, "{commands:?}");
    for command in &commands {
        assert!(document.contains(&format!("`cohort {command}")), "{command}");
        let help = help(&[command, "-h"]);
        for flag in help.split_whitespace().map(|word| word.trim_matches([',', '[', ']'])) {
            if flag.starts_with("--") && flag != "--help" {
                assert!(document.contains(flag), "{command} {flag}");
            }
        }
    }
}

#[test]
fn the_schema_is_the_copy_in_the_documents() {
    let copy = std::fs::read_to_string(root().join("docs/cohort.schema.json")).unwrap();
    assert_eq!(help(&["schema"]), copy);
}

#[test]
fn completions_and_manual_know_every_command() {
    let commands = listed(&help(&["-h"]), "Commands:");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let completions = help(&["completions", shell]);
        for command in &commands {
            assert!(completions.contains(command.as_str()), "{shell} {command}");
        }
    }
    let manual = help(&["man"]);
    assert!(manual.contains(".TH COHORT 1"), "{manual}");
    for command in &commands {
        assert!(
            manual.contains(&format!(".SH \"COHORT {}\"", command.to_uppercase())),
            "{command}"
        );
    }
    assert!(manual.contains("\\-\\-keys\\-from"));
}
