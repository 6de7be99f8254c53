//! One HTTP stream: the request in, the answer out, the count at the end.

use std::rc::Rc;

use smallvec::SmallVec;

use crate::bucket::VersionIndex;
use crate::config::{Mode, Rollout};
use crate::engine::{decide, Decision, Reason, Request, Standing};
use crate::http::HeaderName;

use super::loaded::LoadedConfig;
use super::outcome::{number, Outcome};
use super::plugin::note_connection;
use super::rollout::LoadedRollout;
use super::series::{CodeClass, Count, IgnoredKind, Source};
use super::strip::{self, Written};
use super::{baggage, Host};

/// One HTTP stream. A stream ends with the configuration it began with.
#[derive(Debug)]
pub struct Stream {
    loaded: Rc<LoadedConfig>,
    /// Nanoseconds on the host's monotonic clock.
    began: u64,
    decided: SmallVec<[Decided; 2]>,
    /// `set-cookie` values to hand out.
    cookies: Vec<String>,
    outcome: Outcome,
}

/// What was decided for one rollout.
#[derive(Clone, Copy, Debug)]
struct Decided {
    rollout: usize,
    version: VersionIndex,
    reason: Reason,
}

impl Stream {
    pub fn new(loaded: Rc<LoadedConfig>) -> Self {
        Self {
            loaded,
            began: 0,
            decided: SmallVec::new(),
            cookies: Vec::new(),
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
            return;
        }
        self.began = host.monotonic();
        let now = host.now() / 1_000_000;
        if loaded.asks_for_connection.get() || loaded.replaced.get().is_some() {
            note_connection(host, &loaded, now);
        }
        loaded.last_stream.set(now);

        let plan = &loaded.plan;
        let request = Request::new(plan, &headers, host);
        let mut written = Written::new();
        let mut in_force: SmallVec<[(usize, VersionIndex); 2]> = SmallVec::new();
        for position in plan.candidates(|| request.host()) {
            let Some(loaded_rollout) = loaded.rollout(position) else { continue };
            let LoadedRollout { config: rollout, state } = loaded_rollout;
            if !rollout.applies(&request) {
                continue;
            }
            if !state.counts() {
                loaded_rollout.begin_counting(host, now);
            }
            let standing = Standing {
                split: loaded_rollout.split(now),
                holds: &state.holds(),
                turn: &state.probe_turn,
            };
            let decision = decide(plan.config(), rollout, &standing, &request, &mut ());
            count_ignored(host, loaded_rollout, &decision);
            self.decided.push(Decided {
                rollout: position,
                version: decision.version,
                reason: decision.reason,
            });
            if rollout.mode == Mode::Shadow {
                log_shadow(rollout, &decision);
                continue;
            }
            in_force.push((position, decision.version));
            write_request(host, rollout, decision.version, &mut written);
            if let Some((pin, value)) = rollout.pin.as_ref().zip(decision.pin.as_ref()) {
                self.cookies.push(pin.cookie.header(value, request.is_https()));
            }
        }
        strip::request_headers(host, plan, &request, &written);
        baggage::rewrite(host, plan, &request, &in_force);
        self.outcome.grpc =
            headers.first("content-type").is_some_and(|kind| kind.starts_with(b"application/grpc"));
        for issued in request.issued().iter().filter(|issued| issued.hand_out) {
            self.cookies.push(issued.cookie.header(&issued.id, request.is_https()));
        }
    }

    /// Takes our names out of the trailers.
    pub fn on_request_trailers(&self, host: &impl Host) {
        if !self.loaded.plan.rollouts().is_empty() {
            strip::request_trailers(host, &self.loaded.plan);
        }
    }

    /// Notes the answer, and writes the decisions on it.
    pub fn on_response_headers(&mut self, host: &impl Host, end_of_stream: bool) {
        if self.decided.is_empty() {
            return;
        }
        self.outcome.ended |= end_of_stream;
        self.outcome.status = host.response_header(":status").and_then(|status| number(&status));
        if self.outcome.grpc {
            self.outcome.grpc_status =
                host.response_header("grpc-status").and_then(|status| number(&status));
        }
        let mut written = Written::new();
        for decided in &self.decided {
            let Some(rollout) = self.loaded.plan.rollouts().get(decided.rollout) else { continue };
            if rollout.mode == Mode::Shadow {
                continue;
            }
            let output = &rollout.output;
            let version =
                rollout.versions.get(decided.version).map_or("", |version| version.name.as_str());
            let reason = decided.reason.as_str();
            for (name, value) in
                [(&output.response_header, version), (&output.reason_header, reason)]
            {
                if let Some(name) = name.as_ref().filter(|name| claim(&mut written, name)) {
                    host.set_response_header(name.as_str(), value);
                }
            }
        }
        for cookie in &self.cookies {
            host.add_response_header("set-cookie", cookie);
        }
    }

    /// Notes whether the answer is complete.
    pub fn on_response_body(&mut self, end_of_stream: bool) {
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
        let nanos = host.monotonic().saturating_sub(self.began);
        let failed = outcome.is_failure(|| host.response_flags());
        let class = CodeClass::of(outcome.status);
        for decided in &self.decided {
            let Some(rollout) = self.loaded.rollout(decided.rollout) else { continue };
            let requests = rollout.requests(host);
            let answers = rollout.answers(host);
            let count = |what| answers.count(host, decided.version, what);
            requests.count(host, decided.version, decided.reason);
            count(Count::Response(class, Source::Upstream));
            if !outcome.is_answer() {
                continue;
            }
            let latency = rollout.config.guard.as_ref().and_then(|guard| guard.latency);
            let limit = latency.map(|latency| latency.slower_than.saturating_mul(1_000_000));
            let slow = limit.is_some_and(|limit| nanos > limit) && !outcome.is_upgrade();
            if failed {
                count(Count::Failure);
            }
            if slow {
                count(Count::Slow);
            }
            requests.duration(host, decided.version, nanos.saturating_add(500_000) / 1_000_000);
            rollout.state.add(decided.version, failed, slow);
        }
    }
}

/// Sets what a decision says on the request. Of two decisions that would write the same header, the
/// first does.
fn write_request<'a>(
    host: &impl Host,
    rollout: &'a Rollout,
    version: VersionIndex,
    written: &mut Written<'a>,
) {
    let Some(version) = rollout.versions.get(version) else { return };
    let output = &rollout.output;
    let route = (&output.route_header, version.name.as_str());
    let cluster = output.cluster_header.as_ref().zip(version.cluster.as_deref());
    let others = version.request_headers.iter().map(|(name, value)| (name, value.as_str()));
    for (name, value) in std::iter::once(route).chain(cluster).chain(others) {
        if claim(written, name) {
            host.set_request_header(name.as_str(), value.as_bytes());
        }
    }
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
