//! Any bytes as a `baggage` header: members of others are kept byte for byte, and ours is read back.
#![no_main]

use cohort::http::baggage::{members, Builder, BYTE_LIMIT, MEMBER_LIMIT};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let mut builder = Builder::default();
    let mut count = 0;
    for member in members(line) {
        assert!(!member.text.is_empty() && !member.text.contains(&b','));
        assert!(!member.key.contains(&b';') && !member.key.contains(&b'='));
        assert!(!member.value.contains(&b';'));
        builder.keep(member.text);
        count += 1;
    }
    let added = builder.add("cohort-checkout", "canary");
    let written = builder.finish();
    assert!(!added || written.len() <= BYTE_LIMIT && count < MEMBER_LIMIT, "past the limits");
    let again: Vec<_> = members(&written).collect();
    assert_eq!(again.len(), count + usize::from(added));
    for (before, after) in members(line).zip(&again) {
        assert_eq!(before, *after);
    }
    if added {
        let last = again.last().expect("ours");
        assert_eq!((last.key, last.value), (&b"cohort-checkout"[..], &b"canary"[..]));
    }
});
