//! One HTTP stream: the request in, the answer out, the count at the end.

use std::cell::OnceCell;
use std::rc::Rc;

use smallvec::SmallVec;

use crate::bucket::VersionIndex;
use crate::config::{Mode, Rollout};
use crate::engine::{decide, Decision, Reason, Request, Standing};
use crate::http::{HeaderName, Headers};

use super::cookies::Cookies;
use super::heard::Answer;
use super::loaded::LoadedConfig;
use super::outcome::{number, Outcome, RequestKind};
use super::plugin::note_connection;
use super::rollout::LoadedRollout;
use super::series::{CodeClass, Count, IgnoredKind};
use super::strip::{self, Written};
use super::visitors::Client;
use super::{baggage, neighbours, Host};

/// One HTTP stream. A stream ends with the configuration it began with.
#[derive(Debug)]
pub struct Stream {
    loaded: Rc<LoadedConfig>,
    /// Nanoseconds on the host's monotonic clock.
    began: u64,
    decided: SmallVec<[Decided; 2]>,
    /// What the answer is to hand out.
    cookies: Cookies,
    outcome: Outcome,
}

/// What was decided for one rollout.
#[derive(Clone, Copy, Debug)]
struct Decided {
    rollout: usize,
    version: VersionIndex,
    reason: Reason,
    /// What tells the user from others, where the guard counts users.
    user: Option<u32>,
    /// Whether the decision reached the route table: of two rollouts with one header only the first does,
    /// and the answer speaks of its version.
    routes: bool,
}

impl Stream {
    pub fn new(loaded: Rc<LoadedConfig>) -> Self {
        Self {
            loaded,
            began: 0,
            decided: SmallVec::new(),
            cookies: Cookies::default(),
            outcome: Outcome::default(),
        }
    }

    /// Decides every rollout that matches, and writes the decisions on the request.
    pub fn on_request_headers(&mut self, host: &impl Host) {
        let loaded = Rc::clone(&self.loaded);
        if loaded.plan.rollouts().is_empty() && !loaded.invalid {
            return;
        }
        let headers = host.request_headers();
        if loaded.invalid {
            strip::everything_of_ours(host, &headers);
            baggage::strip_ours(host, &headers);
            return;
        }
        self.began = host.monotonic();
        let now = host.now() / 1_000_000;
        if loaded.asks_for_connection.get() || loaded.replaced.get().is_some() {
            note_connection(host, &loaded, now);
        }
        loaded.last_stream.set(now);

        let plan = &loaded.plan;
        let client = Client {
            host,
            headers: &headers,
            visitors: &loaded.visitors,
            now,
            connection: OnceCell::new(),
        };
        let request = Request::new(plan, &headers, &client);
        let mut written = Written::new();
        let mut in_force: SmallVec<[(usize, VersionIndex); 2]> = SmallVec::new();
        for position in plan.candidates(|| request.host()) {
            let Some(loaded_rollout) = loaded.rollout(position) else { continue };
            let LoadedRollout { config: rollout, state } = loaded_rollout;
            if !rollout.applies(&request) {
                continue;
            }
            let standing = Standing {
                split: loaded_rollout.split(now),
                holds: &state.holds(),
                turn: &state.probe_turn,
            };
            let decision = decide(plan.config(), rollout, &standing, &request, &mut ());
            count_ignored(host, loaded_rollout, &decision);
            let mut decided = Decided {
                rollout: position,
                version: decision.version,
                reason: decision.reason,
                user: decision.user,
                routes: false,
            };
            if rollout.mode == Mode::Shadow {
                self.decided.push(decided);
                log_shadow(rollout, &decision);
                continue;
            }
            in_force.push((position, decision.version));
            decided.routes = write_request(host, rollout, decision.version, &mut written);
            self.decided.push(decided);
            if let Some((pin, value)) = rollout.pin.as_ref().zip(decision.pin.as_ref()) {
                self.cookies.add_pin(position, &pin.cookie, value, &request);
            }
        }
        strip::request_headers(host, plan, &request, &written);
        baggage::rewrite(host, plan, &request, &in_force);
        if self.decided.is_empty() {
            return;
        }
        self.outcome.request = request_kind(&headers);
        self.outcome.grpc =
            headers.first("content-type").is_some_and(|kind| kind.starts_with(b"application/grpc"));
        let decided = self.decided.iter().filter_map(|it| Some(loaded.rollout(it.rollout)?.config));
        self.cookies.add_ids(host, &loaded, &request, decided, now);
    }

    /// Takes our names out of the trailers.
    pub fn on_request_trailers(&self, host: &impl Host) {
        if self.loaded.invalid {
            strip::every_trailer_of_ours(host);
        } else if !self.loaded.plan.rollouts().is_empty() {
            strip::request_trailers(host, &self.loaded.plan);
        }
    }

    /// Notes the answer, and writes the decisions on it.
    pub fn on_response_headers(&mut self, host: &impl Host, end_of_stream: bool) {
        let plan = &self.loaded.plan;
        if self.decided.is_empty() && plan.response_headers() == 0 {
            return;
        }
        self.outcome.ended |= end_of_stream;
        self.outcome.status = host.response_header(":status").and_then(|status| number(&status));
        self.outcome.waited = self.waited(host);
        if self.outcome.grpc {
            self.outcome.grpc_status =
                host.response_header("grpc-status").and_then(|status| number(&status));
        }
        let mut written = Written::new();
        for decided in &self.decided {
            let Some(rollout) = plan.rollouts().get(decided.rollout) else { continue };
            if rollout.mode == Mode::Shadow {
                continue;
            }
            for (name, value) in rollout.on_response(decided.version, decided.reason.as_str()) {
                if claim(&mut written, name) {
                    host.set_response_header(name.as_str(), value);
                }
            }
        }
        let may_be_forged = written.len() < plan.response_headers();
        if may_be_forged || !self.cookies.is_empty() {
            let headers = host.response_headers();
            if may_be_forged {
                strip::response_headers(host, plan, &headers, &written);
            }
            self.cookies.hand_out(host, &self.loaded, self.outcome.status, &headers);
        }
    }

    /// Nanoseconds that the version took until its answer began; `None` where no guard wants to know, or
    /// where it cannot be told from the time that the client took.
    fn waited(&self, host: &impl Host) -> Option<u64> {
        let rollouts = self.decided.iter().filter_map(|it| self.loaded.rollout(it.rollout));
        let limit = rollouts.filter_map(|rollout| slowness(rollout.config)).min()?;
        let took = host.monotonic().saturating_sub(self.began);
        if took <= limit {
            return Some(took);
        }
        // From the last byte of the request on, as the proxy itself has measured it.
        let said = host.response_header("x-envoy-upstream-service-time");
        match said.and_then(|millis| number::<u32>(&millis)) {
            Some(millis) => Some(u64::from(millis) * 1_000_000),
            None => Some(took).filter(|_| !self.outcome.request.has_body),
        }
    }

    /// Notes how much of the answer has come, and whether it is complete.
    pub fn on_response_body(&mut self, size: usize, end_of_stream: bool) {
        self.outcome.body = self.outcome.body.saturating_add(size as u64);
        self.outcome.ended |= end_of_stream;
    }

    /// Notes the real status of a gRPC answer.
    pub fn on_response_trailers(&mut self, host: &impl Host) {
        self.outcome.ended = true;
        if self.outcome.grpc && !self.decided.is_empty() {
            let status = host.response_trailer("grpc-status").and_then(|status| number(&status));
            self.outcome.grpc_status = status.or(self.outcome.grpc_status);
        }
    }

    /// Counts the outcome. The proxy calls this for each stream, also for one that never had a request.
    pub fn on_end(&self, host: &impl Host) {
        if self.decided.is_empty() {
            return;
        }
        let outcome = self.outcome;
        let now = host.monotonic();
        let took = now.saturating_sub(self.began);
        let verdict = outcome.judge(|| host.response_details());
        let class = CodeClass::of(outcome.status);
        for decided in &self.decided {
            let Some(rollout) = self.loaded.rollout(decided.rollout) else { continue };
            let requests = rollout.requests(host);
            let answers = rollout.answers(host);
            let count = |what| answers.count(host, decided.version, what);
            requests.count(host, decided.version, decided.reason);
            count(Count::Response(class, verdict.source));
            if outcome.status.is_none() {
                continue;
            }
            if !outcome.is_tunnel() {
                requests.duration(host, decided.version, took.saturating_add(500_000) / 1_000_000);
            }
            if !verdict.counts {
                continue;
            }
            let slow = slowness(rollout.config).is_some_and(|limit| outcome.is_slower_than(limit));
            if verdict.failed {
                count(Count::Failure);
            }
            if slow {
                count(Count::Slow);
            }
            // Nobody but a person who looks at it gets a version without weight by an override.
            let asked_for = || rollout.split(host.now() / 1_000_000).has(decided.version);
            if decided.routes && (decided.reason != Reason::Override || asked_for()) {
                let answer = Answer {
                    version: decided.version,
                    user: decided.user,
                    failed: verdict.failed,
                    slow,
                    now: now / 1_000_000,
                };
                rollout.hear(answer, || host.client_address());
            }
        }
    }
}

/// What a slow answer of a rollout takes longer than, in nanoseconds.
fn slowness(rollout: &Rollout) -> Option<u64> {
    let latency = rollout.guard.as_ref()?.latency?;
    Some(latency.slower_than.saturating_mul(1_000_000))
}

fn request_kind(headers: &Headers) -> RequestKind {
    let method = headers.first(":method").unwrap_or_default();
    let has_body = match headers.first("content-length") {
        Some(length) => length != b"0",
        None => {
            headers.first("transfer-encoding").is_some()
                || matches!(method, b"POST" | b"PUT" | b"PATCH")
        }
    };
    RequestKind { options: method == b"OPTIONS", connect: method == b"CONNECT", has_body }
}

/// Sets what a decision says on the request, and says whether the request goes by it. Of two decisions that would
/// write the same header, the first does.
fn write_request<'a>(
    host: &impl Host,
    rollout: &'a Rollout,
    version: VersionIndex,
    written: &mut Written<'a>,
) -> bool {
    let mut routes = true;
    for (write, value) in rollout.on_request(version) {
        if claim(written, write.header) {
            host.set_request_header(write.header.as_str(), value.as_bytes());
            neighbours::tell_header(host, write.header);
        } else {
            routes &= !write.content.routes();
        }
    }
    routes
}

/// Whether `name` was not written yet; from now on it is.
fn claim<'a>(written: &mut Written<'a>, name: &'a HeaderName) -> bool {
    let free = !written.contains(&name);
    if free {
        written.push(name);
    }
    free
}

fn count_ignored(host: &impl Host, rollout: LoadedRollout<'_>, decision: &Decision) {
    let ignored = decision.ignored;
    for (was, kind) in [
        (ignored.overrides, IgnoredKind::Override),
        (ignored.pin, IgnoredKind::Pin),
        (ignored.inherit, IgnoredKind::Inherit),
    ] {
        if was {
            rollout.requests(host).ignored(host, kind);
        }
    }
}

#[cold]
fn log_shadow(rollout: &Rollout, decision: &Decision) {
    if log::log_enabled!(log::Level::Debug) {
        let version =
            rollout.versions.get(decision.version).map_or("", |version| version.name.as_str());
        log::debug!("rollout {} (shadow): {version}, {}", rollout.name, decision.reason.as_str());
    }
}
