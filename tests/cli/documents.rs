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
    for command in commands.iter().filter(|command| *command != "help") {
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

/// The examples in the help of a command, each as a person pastes it.
fn examples(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let mut examples: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines.take_while(|line| line.starts_with("  ")) {
        assert!(line.chars().count() < 80, "a terminal would break it: {line}");
        match examples.last_mut().filter(|_| goes_on) {
            Some(last) => last.push_str(&format!("\n{line}")),
            None => examples.push(line.to_owned()),
        }
        goes_on = line.ends_with('\\');
    }
    examples
}

#[cfg(unix)]
#[test]
fn every_example_of_the_help_runs_as_it_is_pasted() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("pasted");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("envoy")).unwrap();
    std::fs::create_dir_all(folder.join("istio")).unwrap();
    std::fs::create_dir_all(folder.join("deploy")).unwrap();
    let checkout = std::fs::read_to_string(files().join("checkout.yaml")).unwrap();
    let indented = checkout.replace('\n', "\n    ");
    let plugin = format!(
        "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: cohort}}\n\
         spec:\n  url: oci://registry.example.com/cohort:1\n  pluginConfig:\n    {indented}\n"
    );
    let copy = |from: &str, to: &str| std::fs::copy(files().join(from), folder.join(to)).unwrap();
    for name in ["checkout.yaml", "live.yaml", "envoy/filter.yaml"] {
        std::fs::write(folder.join(name), &checkout).unwrap();
    }
    for name in ["istio/wasmplugin.yaml", "deploy/wasmplugin.yaml", "wasmplugin.yaml"] {
        std::fs::write(folder.join(name), &plugin).unwrap();
    }
    let policy = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {name: cohort}\n\
                  spec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: checkout}]\n  \
                  wasm: [{name: cohort, code: {type: Image, image: {url: registry.example.com/cohort:1}}, config: \
                  {rollouts: []}}]\n";
    std::fs::write(folder.join("policy.yaml"), policy).unwrap();
    let route =
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: checkout}\n\
                 spec: {parentRefs: [{name: gateway}], rules: []}\n";
    std::fs::write(folder.join("httproute.yaml"), route).unwrap();
    std::fs::write(folder.join("users.txt"), "a\nb\n").unwrap();
    std::fs::write(folder.join("users.csv"), "id,name\n1,a\n2,b\n").unwrap();
    copy("ingress.yaml", "ingress.yaml");
    copy("flagger.yaml", "canary.out");
    copy("scrape-plain.txt", "exec.out");
    std::fs::write(folder.join("wasmplugins.out"), &plugin).unwrap();
    // What a cluster answers.
    let kubectl = "#!/bin/sh\ncase \"$1 $2\" in apply*) cat >/dev/null;; get*) cat $2.out;; exec*) cat exec.out;; esac\n";
    std::fs::write(folder.join("kubectl"), kubectl).unwrap();
    std::fs::set_permissions(folder.join("kubectl"), std::fs::Permissions::from_mode(0o755))
        .unwrap();
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_cohort")).parent().unwrap();
    let path = format!("{}:{}:{}", folder.display(), bin.display(), std::env::var("PATH").unwrap());
    let mut count = 0;
    for command in listed(&help(&["-h"]), "Commands:") {
        for example in examples(&help(&["help", &command])) {
            // No proxy runs here, and what is written for the whole machine is written here.
            if example.contains("http://localhost") {
                continue;
            }
            count += 1;
            let pasted = example
                .replace("> /etc/bash_completion.d/", "> ")
                .replace("> /usr/local/share/man/man1/", "> ");
            let output = Command::new("bash")
                .args(["-o", "pipefail", "-c", &pasted])
                .env("PATH", &path)
                .current_dir(&folder)
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{pasted}\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    assert!(count >= 14, "only {count}");
}
