//! Any bytes as a `cookie` header: what is read can be written again, and reads the same.
#![no_main]

use cohort::http::cookie::pairs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let read: Vec<(&[u8], &[u8])> = pairs(line).collect();
    let mut written = Vec::new();
    for (name, value) in &read {
        assert!(!name.contains(&b';') && !name.contains(&b'='), "{name:?}");
        assert!(!value.contains(&b';'), "{value:?}");
        assert_eq!(name.trim_ascii(), *name);
        written.extend_from_slice(name);
        written.extend_from_slice(b"=\"");
        written.extend_from_slice(value);
        written.extend_from_slice(b"\"; ");
    }
    let again: Vec<(&[u8], &[u8])> = pairs(&written).collect();
    assert_eq!(read, again);
});
