//! The house rules that a compiler does not hold: floors, file length, lints, what may be unsafe.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the crate and their floors, as `src/lib.rs` and the map in it say.
const FLOORS: [(&str, u32); 11] = [
    ("hash", 0),
    ("http", 0),
    ("index", 0),
    ("bucket", 1),
    ("document", 2),
    ("config", 3),
    ("engine", 4),
    ("filter", 5),
    ("wasm", 6),
    ("native", 6),
    ("cli", 6),
];

/// The files that may hold unsafe code, and the most blocks of it: those that call the host, or are called.
const UNSAFE: [(&str, usize); 5] = [
    ("wasm/abi.rs", 10),
    ("native/abi/mod.rs", 10),
    ("native/abi/stream.rs", 14),
    ("native/abi/config.rs", 7),
    ("native/hooks.rs", 15),
];

/// The most lines of a source file.
const LONGEST: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every source file by its path from `src/`, with its text.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, from: &Path, files: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, from, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(from).expect("inside").display().to_string();
                files.insert(name, fs::read_to_string(&path).expect("text"));
            }
        }
    }
    let src = root().join("src");
    let mut files = BTreeMap::new();
    walk(&src, &src, &mut files);
    assert!(files.len() > 40, "only {} files", files.len());
    files
}

/// The code of a file: without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let until_tests = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = until_tests.lines().map(|line| match line.find("//") {
        Some(at) if !line[..at].contains('"') => &line[..at],
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The top modules that code names by `crate::`, one by one or in braces.
fn named(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let list = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![rest],
        };
        names.extend(list.iter().map(|item| {
            let item = item.trim_start();
            let end = item.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(item.len());
            item[..end].to_owned()
        }));
    }
    names
}

fn floor(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

#[test]
fn a_module_names_only_modules_below_it() {
    let mut looked_at = 0;
    for (file, text) in sources() {
        let module = file.split(['/', '.']).next().unwrap_or_default();
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let own =
            floor(module).unwrap_or_else(|| panic!("src/{file}: on which floor is {module}?"));
        for name in named(&code(&text)) {
            looked_at += 1;
            let below = floor(&name).is_some_and(|floor| floor < own);
            // A name that is no module is a macro of the crate's own.
            let is_module = floor(&name).is_some();
            assert!(
                below || name == module || !is_module,
                "src/{file} (floor {own}) names crate::{name}, which is not below it"
            );
        }
    }
    assert!(looked_at > 50, "only {looked_at} names: does the scan still work?");
}

#[test]
fn the_scan_sees_names_one_by_one_and_in_braces_but_not_in_comments() {
    let text = "//! [`crate::filter`]\nuse crate::{bucket::Split, hash};\nlet x = crate::http::fold; // crate::cli\n\
                #[cfg(test)]\nmod tests { use crate::wasm; }";
    assert_eq!(named(&code(text)), ["bucket", "hash", "http"]);
}

#[test]
fn no_way_leads_around_the_floors() {
    for (file, text) in sources() {
        let code = code(&text);
        // From a file at the top of its module, `super` is the crate.
        let top =
            !file.contains('/') || file.matches('/').count() == 1 && file.ends_with("/mod.rs");
        let steps_out = if top { "super::" } else { "super::super::" };
        let deep = file.matches('/').count() > 1;
        if !deep && !["lib.rs", "main.rs"].contains(&file.as_str()) {
            if let Some(line) = code.lines().find(|line| line.contains(steps_out)) {
                panic!("src/{file} steps out of its module: {line}");
            }
        }
    }
}

#[test]
fn the_map_in_lib_rs_names_every_module_on_its_floor() {
    let map = read("src/lib.rs");
    for (module, floor) in FLOORS {
        let row = map.lines().find(|line| line.starts_with(&format!("//! | {floor} |")));
        let row = row.unwrap_or_else(|| panic!("the map has no floor {floor}"));
        assert!(row.contains(&format!("`{module}`")), "{module} is not on floor {floor}: {row}");
    }
}

#[test]
fn no_file_is_longer_than_can_be_read() {
    for (file, text) in sources() {
        let lines = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().lines().count();
        assert!(lines <= LONGEST, "src/{file} has {lines} lines, allowed: {LONGEST}");
    }
}

#[test]
fn every_file_begins_with_what_it_is() {
    for (file, text) in sources() {
        assert!(text.starts_with("//! "), "src/{file} has no first line that says what it is");
    }
}

#[test]
fn what_can_panic_is_denied() {
    let lib = read("src/lib.rs");
    let denied: String =
        lib.split("deny(").nth(1).expect("a deny").split(')').next().unwrap().into();
    for lint in ["unwrap_used", "expect_used", "panic", "indexing_slicing"] {
        assert!(denied.contains(&format!("clippy::{lint}")), "clippy::{lint} is not denied");
    }
    assert!(read("Cargo.toml").contains("unsafe_code = \"deny\""));
    for (file, text) in sources() {
        let code = code(&text);
        for lint in ["unwrap_used", "expect_used", "clippy::panic", "indexing_slicing"] {
            let allows = code.lines().any(|line| {
                let lets = line.contains("allow(") || line.contains("expect(clippy");
                lets && line.contains(lint)
            });
            assert!(!allows || file.starts_with("cli/"), "src/{file} allows {lint}");
        }
    }
}

#[test]
fn only_the_calls_to_the_host_are_unsafe() {
    for (file, text) in sources() {
        let code = code(&text);
        if let Some((_, most)) = UNSAFE.iter().find(|(known, _)| *known == file) {
            let (blocks, reasons) =
                (code.matches("unsafe {").count(), text.matches("// SAFETY: ").count());
            assert!(
                (1..=*most).contains(&blocks) && reasons >= blocks,
                "src/{file}: {reasons} reasons for {blocks} blocks"
            );
            continue;
        }
        assert!(!code.contains("unsafe {"), "src/{file} has an unsafe block");
        assert!(!code.contains("unsafe fn"), "src/{file} has an unsafe function");
        assert!(!code.contains("allow(unsafe_code"), "src/{file} allows unsafe code");
    }
}

#[test]
fn the_filter_asks_its_host_for_the_time_and_the_randomness() {
    // On wasm32-unknown-unknown the standard library's clock panics, and its hash maps are seeded alike.
    for (file, text) in sources() {
        // The native edge is the host.
        if file.starts_with("cli/") || file.starts_with("native/") {
            continue;
        }
        for word in ["SystemTime", "Instant::now", "HashMap", "HashSet", "thread::spawn", "std::fs"]
        {
            assert!(!code(&text).contains(word), "src/{file} uses {word}");
        }
    }
}

#[test]
fn the_sdk_is_named_in_the_edge_alone_and_its_text_getters_are_banned() {
    let mut calls = 0;
    for (file, text) in sources() {
        let names_it = code(&text).contains("proxy_wasm");
        assert!(!names_it || file.starts_with("wasm/"), "src/{file} names the SDK");
        calls += code(&text).matches("hostcalls::").count();
    }
    assert!(calls > 10, "only {calls} calls of the SDK: does the scan still work?");
    // `scripts/wasm.sh clippy` refuses these names and says why.
    let banned = read("clippy.toml");
    for getter in ["get_map", "get_map_bytes", "get_map_value", "get_map_value_bytes"] {
        assert!(banned.contains(&format!("\"proxy_wasm::hostcalls::{getter}\"")), "{getter}");
    }
}
