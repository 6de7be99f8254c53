//! `cohort set` changes what it is asked to change, in every way of writing a configuration, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::root;

/// A folder of its own for one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("set").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn cohort(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cohort")).args(arguments).current_dir(folder).output().unwrap()
}

/// The lines that differ between two texts, as `old -> new`; lines that are only in the new one as `+ new`.
fn changes(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    if old.len() == new.len() {
        let pairs = old.iter().zip(&new).filter(|(old, new)| old != new);
        return pairs.map(|(old, new)| format!("{} -> {}", old.trim(), new.trim())).collect();
    }
    let mut rest = old.iter().peekable();
    let mut added = Vec::new();
    for line in new {
        match rest.next_if(|old| **old == line) {
            Some(_) => {}
            None => added.push(format!("+ {line}")),
        }
    }
    assert_eq!(rest.next(), None, "lines are gone");
    added
}

/// Writes `text`, sets, and says what differs.
fn set(folder: &Path, file: &str, text: &str, arguments: &[&str]) -> Vec<String> {
    fs::write(folder.join(file), text).unwrap();
    let output = cohort(folder, &[&["set", file], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let left: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".new")), "{left:?}");
    changes(text, &fs::read_to_string(folder.join(file)).unwrap())
}

const BLOCK: &str = "\
# What runs where.
rollouts:
  - name: checkout   # the shop
    versions:
      - name: stable     # v1

      - name: canary     # v2
        weight: 5        # percent
    hashKey: [{header: x-user-id}]

  # Another one.
  - {name: search, versions: [{name: a}, {name: 'b', weight: 12.5}], hashKey: [{cookie: uid}]}
";

#[test]
fn a_weight_changes_where_it_stands_and_every_comment_and_blank_is_kept() {
    let folder = folder("block");
    assert_eq!(
        set(&folder, "a.yaml", BLOCK, &["checkout", "canary=25"]),
        ["weight: 5        # percent -> weight: 25        # percent"]
    );
    assert_eq!(
        set(&folder, "a.yaml", BLOCK, &["search", "b=0.125", "a=99.875"]),
        ["- {name: search, versions: [{name: a}, {name: 'b', weight: 12.5}], hashKey: [{cookie: uid}]} -> \
          - {name: search, versions: [{name: a}, {name: 'b', weight: 0.125}], hashKey: [{cookie: uid}]}"]
    );
    // Of two versions the weight of one says that of the other.
    assert_eq!(
        set(&folder, "a.yaml", BLOCK, &["checkout", "stable=90"]),
        ["weight: 5        # percent -> weight: 10        # percent"]
    );
}

#[test]
fn a_revision_and_the_kill_switch_are_added_where_there_is_none() {
    let folder = folder("added");
    assert_eq!(
        set(&folder, "a.yaml", BLOCK, &["checkout", "--revision", "canary=2.4", "--disable"]),
        ["+     enabled: false", "+         revision: \"2.4\""]
    );
    assert_eq!(
        set(&folder, "a.yaml", BLOCK, &["search", "--revision", "b=it's \"new\"", "--disable"]),
        ["- {name: search, versions: [{name: a}, {name: 'b', weight: 12.5}], hashKey: [{cookie: uid}]} -> \
          - {name: search, enabled: false, versions: [{name: a}, {name: 'b', revision: \"it's \\\"new\\\"\", \
          weight: 12.5}], hashKey: [{cookie: uid}]}"]
    );
    let windows = BLOCK.replace('\n', "\r\n");
    assert_eq!(
        set(&folder, "a.yaml", &windows, &["checkout", "--disable"]),
        ["+     enabled: false"]
    );
    let text = fs::read_to_string(folder.join("a.yaml")).unwrap();
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
}

#[test]
fn a_revision_and_the_kill_switch_change_where_they_stand() {
    let folder = folder("changed");
    let text = BLOCK
        .replace("weight: 5        #", "weight: 5\n        revision: 'v 1'   #")
        .replace("the shop", "the shop\n    enabled: yes # on");
    assert_eq!(
        set(
            &folder,
            "a.yaml",
            &text,
            &["checkout", "--revision", "canary=v2", "--disable", "canary=0"]
        ),
        [
            "enabled: yes # on -> enabled: false # on",
            "weight: 5 -> weight: 0",
            "revision: 'v 1'   # percent -> revision: \"v2\"   # percent",
        ]
    );
}

const VERSIONS: &str = r#"{"rollouts": [{"name": "checkout", "versions": [{"name": "stable"},
  {"name": "canary", "weight": 5}], "hashKey": [{"header": "x-user-id"}]}]}"#;

/// A configuration as each kind of file carries it.
fn carriers() -> Vec<(&'static str, String)> {
    let filter = |any: &str| {
        format!(
            "name: cohort  # ours\ntyped_config:\n  \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n  \
             config:\n    vm_config: {{code: {{local: {{filename: cohort.wasm}}}}}}\n    configuration:\n      {any}\n"
        )
    };
    let value = |name: &str| format!("\"@type\": type.googleapis.com/google.protobuf.{name}");
    let lines = VERSIONS.replace('\n', "\n          ");
    let one_line = VERSIONS.replace("\n  ", " ");
    let manifest = "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: cohort}\nspec:\n  \
                    url: oci://registry.example.com/cohort:1\n  pluginConfig:\n    ";
    vec![
        ("plain.json", VERSIONS.to_owned()),
        ("bom.yaml", format!("\u{feff}{VERSIONS}")),
        ("manifest.yaml", format!("{manifest}{}", VERSIONS.replace('\n', "\n      "))),
        ("literal.yaml", filter(&format!("{}\n      value: |\n          {lines}", value("StringValue")))),
        ("single.yaml", filter(&format!("{}\n      value: '{one_line}'", value("StringValue")))),
        (
            "double.yaml",
            filter(&format!("{}\n      value: {}", value("StringValue"), serde_json::Value::from(one_line.as_str()))),
        ),
        ("struct.yaml", filter(&format!("{}\n      value: {one_line}", value("Struct")))),
        (
            "envoy.json",
            serde_json::json!({"name": "cohort", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {"vm_config": {"code": {}}, "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue", "value": VERSIONS}}}})
            .to_string(),
        ),
    ]
}

#[test]
fn every_kind_of_file_is_changed_in_place() {
    let folder = folder("carriers");
    for (file, text) in carriers() {
        let what =
            ["checkout", "canary=12.5", "--revision", "canary=it's \"new\" \\o/", "--disable"];
        let changed = set(&folder, file, &text, &what);
        assert!(!changed.is_empty() && changed.len() <= 2, "{file}: {changed:?}");
        let output = cohort(&folder, &["validate", file]);
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
        let listed = ["simulate", file, "--keys", "1", "--output", "json"];
        let shown = String::from_utf8(cohort(&folder, &listed).stdout).unwrap();
        assert!(shown.contains(r#""version":"canary","weight":0.0"#), "{file}: {shown}");
        // Back again it is the file that it was, but for what had to be added.
        let before = fs::read_to_string(folder.join(file)).unwrap();
        let again = cohort(&folder, &["set", file, "checkout", "canary=5", "--enable"]);
        assert!(again.status.success(), "{file}");
        let after = fs::read_to_string(folder.join(file)).unwrap();
        assert_eq!(after, before.replace("12.5", "5").replacen("false", "true", 1), "{file}");
    }
}

#[test]
fn what_cannot_be_changed_alone_is_refused_and_the_file_left_as_it_is() {
    let folder = folder("refused");
    let alias = "rollouts:\n  - &one {name: a, versions: &v [{name: s}, {name: c, weight: 5}], hashKey: [{header: x}]}\n  \
                 - {name: b, versions: *v, hashKey: [{header: x}]}\n";
    let ramp = BLOCK.replace(
        "    hashKey: [{header: x-user-id}]\n",
        "    hashKey: [{header: x-user-id}]\n    ramp: {start: 2026-11-21T10:00:00Z, steps: [{after: 1h, weights: {canary: 50}}]}\n",
    );
    for (text, arguments, code, said) in [
        (alias, &["b", "c=50"][..], 2, "cannot be changed in place"),
        (BLOCK, &["checkout", "canary=60", "stable=60"], 2, "found weights that sum to 120"),
        (
            BLOCK,
            &["checkuot", "canary=6"],
            2,
            "found no rollout checkuot, allowed: checkout, search (did you mean checkout?)",
        ),
        (
            BLOCK,
            &["checkout", "canray=6"],
            2,
            "found no version canray, allowed: stable, canary (did you mean canary?)",
        ),
        (
            BLOCK,
            &["checkout", "canary=105"],
            2,
            "found \"105\", allowed: a percentage from 0 to 100",
        ),
        (BLOCK, &["checkout", "canary=5%"], 2, "(did you mean 5?)"),
        (BLOCK, &["checkout", "canary=0.0005"], 2, "at most three decimals"),
        (BLOCK, &["checkout", "canary"], 2, "such as canary=25"),
        (BLOCK, &["checkout", "--revision", "canary="], 2, "such as canary=2.4.1"),
        (BLOCK, &["checkout"], 2, "required"),
        (
            &ramp,
            &["checkout", "canary=6"],
            2,
            "found a ramp, which decides the weights from 2026-11-21T10:00:00Z on",
        ),
        ("rollouts: [", &["checkout", "canary=6"], 2, "allowed: YAML or JSON"),
        (
            &BLOCK.replace("x-user-id", "x user"),
            &["checkout", "canary=6"],
            1,
            "allowed: a header name",
        ),
    ] {
        fs::write(folder.join("a.yaml"), text).unwrap();
        let output = cohort(&folder, &[&["set", "a.yaml"], arguments].concat());
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
        assert_eq!(fs::read_to_string(folder.join("a.yaml")).unwrap(), text, "{arguments:?}");
    }
    // The kill switch works with a ramp too.
    assert_eq!(set(&folder, "a.yaml", &ramp, &["checkout", "--disable"]), ["+     enabled: false"]);
}

#[test]
fn a_sum_that_validate_refuses_is_refused() {
    let folder = folder("sum");
    let text = "rollouts: [{name: a, versions: [{name: s}, {name: b, weight: 50}, {name: c, weight: 50}], hashKey: [{header: x}]}]\n";
    fs::write(folder.join("a.yaml"), text).unwrap();
    let output = cohort(&folder, &["set", "a.yaml", "a", "b=60"]);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(
        err.contains("a.yaml:1:22: $.rollouts[0].versions: found weights that sum to 110"),
        "{err}"
    );
    assert_eq!(fs::read_to_string(folder.join("a.yaml")).unwrap(), text);
}

#[test]
fn a_dry_run_shows_the_lines_and_writes_nothing() {
    let folder = folder("dry");
    fs::write(folder.join("a.yaml"), BLOCK).unwrap();
    let output = cohort(&folder, &["set", "a.yaml", "checkout", "canary=25", "--dry-run"]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(
        out.contains(
            "  -         weight: 5        # percent\n  +         weight: 25        # percent\n"
        ),
        "{out}"
    );
    assert!(out.contains("of 10,000 move") && out.contains("stable -> canary"), "{out}");
    assert_eq!(fs::read_to_string(folder.join("a.yaml")).unwrap(), BLOCK);
}

#[cfg(unix)]
#[test]
fn the_file_is_renamed_into_place_with_its_mode_and_a_link_stays_one() {
    use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
    let folder = folder("rename");
    fs::write(folder.join("real.yaml"), BLOCK).unwrap();
    fs::set_permissions(folder.join("real.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real.yaml", folder.join("link.yaml")).unwrap();
    let before = fs::metadata(folder.join("real.yaml")).unwrap().ino();
    assert!(cohort(&folder, &["set", "link.yaml", "checkout", "canary=6"]).status.success());
    let after = fs::metadata(folder.join("real.yaml")).unwrap();
    assert_ne!(after.ino(), before);
    assert_eq!(after.mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(folder.join("link.yaml")).unwrap().is_symlink());
    // What the file says already is not written again.
    assert!(cohort(&folder, &["set", "link.yaml", "checkout", "canary=6"]).status.success());
    assert_eq!(fs::metadata(folder.join("real.yaml")).unwrap().ino(), after.ino());
}

#[test]
fn standard_input_goes_to_standard_output() {
    let folder = folder("stream");
    fs::write(folder.join("a.yaml"), BLOCK).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_cohort"))
        .args(["set", "-", "checkout", "canary=25"])
        .stdin(fs::File::open(folder.join("a.yaml")).unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(changes(BLOCK, &text).len(), 1, "{text}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("of 10,000 move"));
}

#[test]
fn the_files_of_the_repository_can_be_set() {
    let folder = folder("own");
    for (file, rollout, version) in [
        ("envoy/filter.yaml", "checkout", "canary"),
        ("examples/blue-green.json", "checkout", "green"),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        let changed = set(&folder, name, &text, &[rollout, &format!("{version}=37")]);
        assert_eq!(changed.len(), 1, "{file}: {changed:?}");
    }
}
