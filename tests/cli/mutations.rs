//! Every mistake that the filter refuses, the command refuses too, in the same words, and says where.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use cohort::config::{Config, Problem};
use serde_json::Value;

use crate::generate::{full, json, mutations};

/// What `validate --output json` says of each file while its ramp runs, and how it ends.
fn validate(files: &[String], folder: &Path) -> (BTreeMap<String, Vec<Value>>, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_cohort"))
        .args(["validate", "--output", "json", "--at", "2026-11-21T10:00:00Z"])
        .args(files)
        .current_dir(folder)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let mut said: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        said.entry(line["file"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    (said, output.status.code())
}

fn text(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap_or_default().to_owned()
}

/// The lines that the filter would log.
fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// The same from what the command says.
fn said_lines(said: &[Value]) -> Vec<String> {
    said.iter()
        .filter(|line| line["kind"] == "problem")
        .map(|line| {
            let hint = line["hint"]
                .as_str()
                .map_or(String::new(), |hint| format!(" (did you mean {hint}?)"));
            format!(
                "{}: found {}, allowed: {}{hint}",
                text(line, "path"),
                text(line, "found"),
                text(line, "allowed")
            )
        })
        .collect()
}

/// Puts `document` where `carrier` has `DOCUMENT`, writes a file for each mutation, and compares.
fn refused_alike(name: &str, carrier: &str, quote: fn(&str) -> String) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let mut files = Vec::new();
    let mut written = Vec::new();
    for (number, mutation) in mutations().iter().enumerate() {
        let file = format!("{number}.{}", if carrier == "DOCUMENT" { "json" } else { "yaml" });
        let content = carrier.replace("DOCUMENT", &quote(&mutation.document));
        std::fs::write(folder.join(&file), &content).unwrap();
        files.push(file);
        written.push(content);
    }
    let good = format!("good.{}", if carrier == "DOCUMENT" { "json" } else { "yaml" });
    std::fs::write(folder.join(&good), carrier.replace("DOCUMENT", &quote(&json(&full()))))
        .unwrap();

    let (said, code) = validate(std::slice::from_ref(&good), &folder);
    assert_eq!((code, text(&said[&good][0], "kind").as_str()), (Some(0), "good"));

    let (said, code) = validate(&files, &folder);
    assert_eq!(code, Some(1));
    for ((mutation, file), content) in mutations().iter().zip(&files).zip(&written) {
        let problems = Config::from_json(mutation.document.as_bytes()).unwrap_err();
        assert_eq!(
            said_lines(&said[file]),
            lines(&problems),
            "{} {}",
            mutation.kind,
            mutation.path
        );
        let told = said[file].iter().find(|line| text(line, "path") == mutation.path);
        let told =
            told.unwrap_or_else(|| panic!("{} {} is not told", mutation.kind, mutation.path));
        let line = content.lines().nth(told["line"].as_u64().unwrap() as usize - 1).unwrap();
        let there: String =
            line.chars().skip(told["column"].as_u64().unwrap() as usize - 1).collect();
        let key = mutation
            .path
            .rsplit(['.', '['])
            .next()
            .unwrap()
            .trim_end_matches(']')
            .trim_matches('"');
        if key.parse::<usize>().is_err() && key != "$" {
            let there = there.replace('\\', "");
            assert!(
                there.starts_with(&format!("\"{key}\"")),
                "{} is not at {there}",
                mutation.path
            );
        }
    }
}

#[test]
fn what_the_filter_refuses_as_a_file_the_command_refuses_alike() {
    refused_alike("plain", "DOCUMENT", str::to_owned);
}

#[test]
fn what_the_filter_refuses_in_a_manifest_the_command_refuses_alike() {
    let manifest = "\
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: cohort}
spec:
  url: oci://registry.example.com/cohort:1
  pluginConfig: DOCUMENT
";
    refused_alike("manifest", manifest, str::to_owned);
}

#[test]
fn what_the_filter_refuses_in_a_string_value_the_command_refuses_alike() {
    let filter = "\
name: cohort
typed_config:
  \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
  config:
    vm_config: {code: {local: {filename: cohort.wasm}}}
    configuration:
      \"@type\": type.googleapis.com/google.protobuf.StringValue
      value: DOCUMENT
";
    refused_alike("text", filter, |document| Value::from(document).to_string());
}
