//! Any bytes as a request target: a path and parameters that are parts of it.
#![no_main]

use cohort::http::query::{parameter, path_of};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|target: &[u8]| {
    let path = path_of(target);
    assert!(target.starts_with(path) && !path.contains(&b'?'));
    let value = parameter(target, "uid");
    if let Some(value) = value {
        assert!(!value.contains(&b'&') && !value.contains(&b'#'));
    }
    // What is asked for first is found first, whatever follows.
    let first = [b"/?uid=42&", target].concat();
    assert_eq!(parameter(&first, "uid"), Some(&b"42"[..]));
    if !target.contains(&b'?') {
        assert_eq!(value, None);
        let asked = [target, b"?uid=42"].concat();
        assert_eq!(parameter(&asked, "uid"), Some(&b"42"[..]));
    }
});
