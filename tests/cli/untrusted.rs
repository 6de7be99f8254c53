//! Files that were made to harm whoever looks at them: what a terminal would obey, and what has no end.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("untrusted");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn cohort(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cohort"))
        .args(arguments)
        .current_dir(folder())
        .output()
        .unwrap()
}

/// A window's title, the clipboard, a cleared screen, a forged line, a text that reads from the right.
const HOSTILE: [&str; 6] = [
    "x\u{1b}]0;OWNED\u{7}",
    "x\u{1b}]52;c;cm0gLXJmIH4K\u{7}",
    "x\u{1b}[2J\u{1b}[1;1H",
    "x\ncheckout.yaml: good, 1 rollout: checkout",
    "x\u{202e}yratnac",
    "x\u{9b}31m\u{2066}\u{200b}",
];

/// Every file that has a hostile text at some place, as JSON, which YAML is too.
fn files(hostile: &str) -> Vec<(String, serde_json::Value)> {
    let rollout = |name: &str, more: serde_json::Value| {
        let mut rollout = serde_json::json!({"name": name,
            "versions": [{"name": "stable"}, {"name": "canary", "weight": 5}], "hashKey": [{"header": "x"}]});
        rollout.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rollout
    };
    let plain = |more: serde_json::Value| serde_json::json!({"rollouts": [rollout("a", more.clone()), rollout("b", more)]});
    let filter = |name: &str, config: serde_json::Value| {
        serde_json::json!({"name": name, "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {"vm_config": {"code": {"local": {"filename": "cohort.wasm"}}}, "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue", "value": config.to_string()}}}})
    };
    let good = plain(serde_json::json!({}));
    let manager = serde_json::json!({"stat_prefix": hostile, "http_filters": [filter(hostile, good.clone())],
        "route_config": {"virtual_hosts": [{"name": hostile, "routes": [
            {"match": {"prefix": "/", "headers": [{"name": "x-cohort-a", "string_match": {"exact": hostile}}]},
             "route": {"cluster": hostile}},
            {"match": {"prefix": "/", "headers": [{"name": format!("x-cohort-{hostile}"), "present_match": true}]},
             "route": {"cluster": "c"}}]}]}});
    let plugin = |name: &str, spec: serde_json::Value| {
        serde_json::json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin",
            "metadata": {"name": name, "namespace": name}, "spec": spec})
    };
    let both = |item: serde_json::Value| serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [item.clone(), item]});
    let bad =
        serde_json::json!({"rollouts": [rollout("a", serde_json::json!({hostile: 1, "salt": 5}))]});
    vec![
        ("salt".into(), plain(serde_json::json!({"salt": hostile}))),
        ("key".into(), plain(serde_json::json!({hostile: hostile}))),
        ("name".into(), serde_json::json!({"rollouts": [rollout(hostile, serde_json::json!({}))]})),
        (
            "filter".into(),
            serde_json::json!({"http_filters": [filter(hostile, good.clone()), filter(hostile, bad.clone())]}),
        ),
        (
            "manager".into(),
            serde_json::json!({"static_resources": {"clusters": [{"name": hostile}],
            "listeners": [{"filter_chains": [{"filters": [{"typed_config": manager}]}]}]}}),
        ),
        (
            "plugin".into(),
            both(plugin(
                hostile,
                serde_json::json!({"url": hostile, "phase": hostile, hostile: 1, "pluginConfig": good}),
            )),
        ),
        ("others".into(), plugin(hostile, serde_json::json!({"url": "oci://x/waf"}))),
        (
            "rule".into(),
            plain(
                serde_json::json!({"rules": [{"name": "r", "match": [{"path": {"exact": hostile}}], "version": "canary"}],
            "match": [{"host": {"exact": hostile}}]}),
            ),
        ),
        (
            "segment".into(),
            serde_json::json!({"segments": {hostile: [{"path": {"exact": "/"}}]}, "rollouts": [
            rollout("a", serde_json::json!({"rules": [{"name": "r", "segment": "no", "version": hostile}]}))]}),
        ),
    ]
}

/// Asserts that a person sees nothing in `text` that a terminal obeys, and no line that says another thing.
fn is_tame(text: &[u8], what: &str) {
    let text = String::from_utf8(text.to_vec()).unwrap();
    for letter in text.chars() {
        let hidden = (letter.is_control() && letter != '\n')
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
        assert!(!hidden, "{what}: {letter:?} in {text:?}");
    }
    assert!(!text.lines().any(|line| line.starts_with("checkout.yaml: good")), "{what}: {text}");
}

#[test]
fn nothing_that_a_file_says_reaches_a_terminal_as_it_is() {
    for (number, hostile) in HOSTILE.iter().enumerate() {
        for (name, content) in files(hostile) {
            for ending in if number < 2 { &["json", "yaml"][..] } else { &["yaml"] } {
                let file = format!("{name}-{number}.{ending}");
                fs::write(folder().join(&file), content.to_string()).unwrap();
                for arguments in [
                    &["validate", &file][..],
                    &["simulate", &file, "--keys", "10", "--against", &file],
                    &["explain", &file, "-H", "x: 1"],
                    &["set", &file, "a", "canary=6", "--dry-run"],
                ] {
                    let output = cohort(arguments);
                    is_tame(&output.stdout, &format!("{arguments:?}"));
                    is_tame(&output.stderr, &format!("{arguments:?}"));
                }
            }
        }
        let keys = format!("keys-{number}.txt");
        fs::write(folder().join(&keys), hostile).unwrap();
        fs::write(folder().join("good.json"), files("a")[0].1.to_string()).unwrap();
        let output = cohort(&["simulate", "good.json", "--keys-from", &keys, "--list"]);
        is_tame(&output.stdout, &keys);
    }
}

#[test]
fn a_small_file_asks_for_no_more_than_its_size() {
    let long =
        format!("a: &a \"{}\"\nrollouts: [{}]\n", "x".repeat(1_000_000), ["*a"; 4000].join(", "));
    let nested: String = (0..90).map(|level| format!("[&a{level} ")).collect();
    let nested = format!("rollouts: {nested}[{}]{}\n", ["1"; 200_000].join(","), "]".repeat(90));
    for (name, text, said) in [
        ("alias.yaml", long, "more than 64 MiB of text, with what aliases stand for"),
        ("nested.yaml", nested, "more than 1000000 values, with those that aliases stand for"),
    ] {
        fs::write(folder().join(name), text).unwrap();
        let output = cohort(&["validate", name]);
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains(said), "{err}");
    }
}

#[test]
fn what_has_no_end_is_read_up_to_a_stated_size() {
    for command in ["validate", "explain", "simulate"] {
        let output = cohort(&[command, "/dev/zero"]);
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains("found more than 64 MiB, allowed: a file up to that size"), "{err}");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_cohort"))
        .args(["validate", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // It reads no further than its limit, and then the pipe has nobody at its other end.
    let block = vec![b'#'; 1 << 20];
    let written = (0..1000).take_while(|_| pipe.write_all(&block).is_ok()).count();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert!(written < 100, "{written} MiB were read");
    assert!(String::from_utf8(output.stderr).unwrap().contains("more than 64 MiB"));
}
