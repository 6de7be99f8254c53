//! The transcripts in the documents are run again.
//!
//! A transcript is a `console` block: a line `$ cohort ...`, maybe `? N` for an exit code that is not 0,
//! and what the command prints, standard error too. A line `...` stands for any lines. Lines of other
//! commands are not run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{files, root};

/// One command of a transcript, and the lines of the page that show what it prints.
struct Step {
    command: String,
    shown: std::ops::Range<usize>,
}

/// The commands in the `console` blocks of a page.
fn steps(lines: &[&str]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines[at] != "```console" {
            at += 1;
            continue;
        }
        at += 1;
        while lines[at] != "```" {
            let mut command = lines[at]
                .strip_prefix("$ ")
                .unwrap_or_else(|| panic!("no command: {}", lines[at]))
                .to_owned();
            at += 1;
            while command.ends_with('\\') {
                command.pop();
                command.push_str(lines[at].trim_start());
                at += 1;
            }
            let start = at;
            while lines[at] != "```" && !lines[at].starts_with("$ ") {
                at += 1;
            }
            if command.starts_with("cohort ") {
                steps.push(Step { command, shown: start..at });
            }
        }
    }
    steps
}

/// What a command prints, with its exit code in front where that is not 0.
fn run(command: &str, folder: &Path) -> Vec<String> {
    let bin = Path::new(env!("CARGO_BIN_EXE_cohort")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .env("PATH", format!("{}:{path}", bin.display()))
        .current_dir(folder)
        .output()
        .unwrap();
    let code = output.status.code().unwrap();
    let mut lines = if code == 0 { Vec::new() } else { vec![format!("? {code}")] };
    lines.extend(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned));
    lines
}

/// Whether `printed` is as `shown`, in which `...` is any lines.
fn same(shown: &[&str], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((&"...", rest)) => (0..=printed.len()).any(|skipped| same(rest, &printed[skipped..])),
        Some((first, rest)) => {
            printed.first().is_some_and(|line| line == first) && same(rest, &printed[1..])
        }
    }
}

/// Every page of the repository that can have transcripts, and the folder in which its commands run.
fn pages() -> Vec<(PathBuf, PathBuf)> {
    let mut pages = vec![(root().join("README.md"), root().to_path_buf())];
    for folder in ["docs", "examples"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "md") {
                let own = path.ends_with("docs/cli.md") || path.ends_with("docs/migrate.md");
                pages.push((path, if own { files() } else { root().to_path_buf() }));
            }
        }
    }
    pages
}

#[test]
fn transcripts_in_the_documents_are_what_the_command_prints() {
    let bless = std::env::var("TRYCMD").is_ok_and(|word| word == "overwrite");
    let mut count = 0;
    for (page, folder) in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut now: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        // From the end, so that what is replaced moves nothing that is still to come.
        for step in steps(&lines).into_iter().rev() {
            count += 1;
            let printed = run(&step.command, &folder);
            let shown = &lines[step.shown.clone()];
            if same(shown, &printed) {
                continue;
            }
            let (page, shown, now_printed) = (page.display(), shown.join("\n"), printed.join("\n"));
            assert!(
                bless,
                "{page}: $ {}\nshown:\n{shown}\nprinted:\n{now_printed}\n(TRYCMD=overwrite writes it down)",
                step.command
            );
            now.splice(step.shown, printed);
        }
        if bless {
            std::fs::write(&page, now.join("\n") + "\n").unwrap();
        }
    }
    assert!(count >= 15, "only {count} transcripts");
}
