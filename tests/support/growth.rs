//! Configurations and requests that grow, and what a request of them costs.

use std::fmt::Write;

use super::exchange::{get, Exchange};
use super::module::Wasm;
use super::rig::{Rig, Worker};
use super::world::World;

/// A GET of fourteen headers, as a browser sends.
pub fn browser(target: &str) -> Exchange {
    get(target)
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        )
        .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
        .header("accept-language", "en-US,en;q=0.5")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("referer", "https://shop.example.com/")
        .header("x-request-id", "8c3f2a0e-6f0e-4f6b-9a3d-2f1a6a6f9b11")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-forwarded-proto", "https")
        .header("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark; plan=alpha")
        .header("x-user-id", "user-42")
}

/// `count` rollouts, each for a host of its own: `h0.example` and so on.
pub fn for_hosts(count: usize) -> String {
    rollouts(count, |n| format!(r#", "match": [{{"host": {{"exact": "h{n}.example"}}}}]"#))
}

/// `count` rollouts, each for every request.
pub fn for_any_host(count: usize) -> String {
    rollouts(count, |_| String::new())
}

fn rollouts(count: usize, more: impl Fn(usize) -> String) -> String {
    let one = |n| {
        format!(
            r#"{{"name": "r{n}", "versions": [{{"name": "a"}}, {{"name": "b", "weight": 50}}],
                "hashKey": [{{"header": "x-user-id"}}]{}}}"#,
            more(n)
        )
    };
    let rollouts: Vec<String> = (0..count).map(one).collect();
    format!(r#"{{"rollouts": [{}]}}"#, rollouts.join(","))
}

/// One rollout of `count` versions.
pub fn versions(count: usize) -> String {
    let others: Vec<String> =
        (1..count).map(|n| format!(r#"{{"name": "v{n}", "weight": {}}}"#, 100 / count)).collect();
    format!(
        r#"{{"rollouts": [{{"name": "checkout", "versions": [{{"name": "stable"}}, {}],
            "hashKey": [{{"header": "x-user-id"}}]}}]}}"#,
        others.join(",")
    )
}

/// One rollout with `count` rules, none of which holds for a [`browser`].
pub fn rules(count: usize) -> String {
    let rules: Vec<String> = (0..count)
        .map(|n| {
            format!(
                r#"{{"name": "r{n}", "match": [{{"header": {{"x-country": {{"exact": "c{n}"}}}}}}], "version": "canary"}}"#
            )
        })
        .collect();
    super::checkout(&format!(r#""rules": [{}]"#, rules.join(",")))
}

/// One rollout whose key is the cookie `uid`.
pub fn by_cookie() -> String {
    super::checkout("").replace(r#"{"header": "x-user-id"}"#, r#"{"cookie": "uid"}"#)
}

/// A browser's request with one `cookie` line of so many bytes, the last of them the key `uid`.
pub fn jar(bytes: usize) -> Exchange {
    let key = "uid=user-1";
    let mut line = String::new();
    while line.len() + key.len() < bytes {
        let left = bytes - key.len() - line.len();
        let cookie = format!("name{}=0123456789abcdef; ", line.len());
        // The last cookie before the key takes what is left, so that the length is the one asked for.
        let fits = left >= cookie.len() + 8;
        if fits {
            line += &cookie;
        } else {
            write!(line, "x={}; ", "y".repeat(left.saturating_sub(4))).expect("text");
        }
    }
    browser("/").replace("cookie", line + key)
}

/// What a request costs in a worker that is warm, or a configuration in a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Of the interpreter; for a request on average over ten.
    pub fuel: u64,
    /// Host calls.
    pub calls: u64,
}

impl Cost {
    pub fn of(config: &str, request: &Exchange) -> Self {
        const REQUESTS: u64 = 10;
        let mut worker = Worker::<Wasm>::with(config);
        for _ in 0..3 {
            worker.send(request.clone());
        }
        worker.world.take_counts();
        let before = worker.rig.fuel();
        for _ in 0..REQUESTS {
            worker.send(request.clone());
        }
        let calls: u64 = worker.world.take_counts().values().sum();
        Self { fuel: (worker.rig.fuel() - before) / REQUESTS, calls: calls / REQUESTS }
    }

    /// Of loading a configuration into a machine that has run nothing yet.
    pub fn of_loading(config: &str) -> Self {
        let mut worker = Worker::<Wasm>::start(&World::new());
        worker.world.take_counts();
        let before = worker.rig.fuel();
        assert!(worker.configure(config), "refused: {}", worker.world.take_log(0));
        let fuel = worker.rig.fuel() - before;
        Self { fuel, calls: worker.world.take_counts().values().sum() }
    }
}
