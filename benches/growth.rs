//! How the cost of a request grows with the configuration and with its cookies: counted in the very module
//! that ships, without a clock.
//!
//! Prints one line for each measurement: what grows, how far, fuel, host calls; tabs between them. `make bench WHAT=growth`
//! makes docs/reports/growth.md and docs/reports/growth.svg of it.

#[macro_use]
#[path = "../tests/support/mod.rs"]
mod support;

use support::growth::{browser, by_cookie, for_any_host, for_hosts, jar, rules, versions, Cost};

fn main() {
    let measured = |what: &str, size: usize, cost: Cost| {
        println!("{what}\t{size}\t{}\t{}", cost.fuel, cost.calls);
    };
    let request = browser("/");
    for count in [1, 10, 100, 1000] {
        let last = browser("/").host(&format!("h{}.example", count - 1));
        measured("rollouts of other hosts", count, Cost::of(&for_hosts(count), &last));
    }
    for count in [1, 10, 100, 1000] {
        measured("rollouts to load", count, Cost::of_loading(&for_hosts(count)));
    }
    for count in [1, 2, 5, 10, 20, 100] {
        measured("rollouts of every host", count, Cost::of(&for_any_host(count), &request));
    }
    for count in [2, 5, 10, 20] {
        measured("versions", count, Cost::of(&versions(count), &request));
    }
    for count in [1, 10, 30, 100] {
        measured("rules", count, Cost::of(&rules(count), &request));
    }
    let config = by_cookie();
    // Without a cookie the one key is not there either, and the user gets stable by default.
    measured("bytes of cookies", 0, Cost::of(&config, &browser("/").without("cookie")));
    for bytes in [64, 512, 1024, 2048, 4096] {
        measured("bytes of cookies", bytes, Cost::of(&config, &jar(bytes)));
    }
}
