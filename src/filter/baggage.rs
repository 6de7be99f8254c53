//! Our members of the `baggage` header among those of others.

use crate::bucket::VersionIndex;
use crate::engine::{Plan, Request};
use crate::http::baggage::{members, Builder, Member, PREFIX};
use crate::http::Headers;

use super::{neighbours, Host};

/// Every member of `line` that is ours by whatever spelling, with the position of its rollout.
pub fn members_of_ours<'a>(
    plan: &'a Plan,
    line: &'a [u8],
) -> impl Iterator<Item = (usize, Member<'a>)> + 'a {
    members(line).filter_map(|member| Some((rollout_of(plan, &member)?, member)))
}

/// Takes our members out of the baggage that came in, and puts in those of `decided`: pairs of a
/// rollout's position and the version it gave, of rollouts that are in force.
///
/// A member of a rollout that trusts this peer stays where no decision replaces it. Members of others
/// stay as they are; ours are left out where they would pass the specification's limits.
pub fn rewrite(
    host: &impl Host,
    plan: &Plan,
    request: &Request<'_>,
    decided: &[(usize, VersionIndex)],
) {
    let rollouts = plan.rollouts();
    let writes = |position: usize| rollouts.get(position).filter(|rollout| rollout.output.baggage);
    let came = request.headers().first("baggage").is_some();
    if !came && !decided.iter().any(|(position, _)| writes(*position).is_some()) {
        return;
    }
    let mut builder = Builder::default();
    let mut changed = false;
    for member in request.headers().all("baggage").flat_map(members) {
        let stays = rollout_of(plan, &member).is_none_or(|position| {
            // In the configuration's order, as they were decided.
            let decision = decided.binary_search_by_key(&position, |(decided, _)| *decided).ok();
            let decision = decision.and_then(|at| decided.get(at));
            rollouts.get(position).is_some_and(|rollout| {
                let trusted = rollout.inherit.as_ref().is_some_and(|inherit| inherit.baggage)
                    && member.key.strip_prefix(PREFIX) == Some(rollout.name.as_bytes())
                    && rollout.trusts(request);
                let says_the_same = decision.is_none_or(|(_, version)| {
                    let version = rollout.versions.get(*version);
                    version.is_some_and(|version| version.name.as_bytes() == member.value)
                });
                trusted && says_the_same && !(decision.is_some() && rollout.output.baggage)
            })
        });
        if stays {
            builder.keep(member.text);
        }
        changed |= !stays;
    }
    for (position, version) in decided {
        let Some(rollout) = writes(*position) else { continue };
        let Some(version) = rollout.versions.get(*version) else { continue };
        let key = format!("cohort-{}", rollout.name);
        if builder.add(&key, &version.name) {
            changed = true;
            neighbours::tell_member(host, &key);
        }
    }
    if changed {
        match builder.finish() {
            line if line.is_empty() => host.remove_request_header(b"baggage"),
            line => host.set_request_header("baggage", &line),
        }
    }
}

/// Takes every member out of the baggage that came in that could be one of a configuration we could not read.
/// What another instance of this filter decided on the same stream stays.
pub fn strip_ours(host: &impl Host, headers: &Headers) {
    let lines = || headers.all(BAGGAGE);
    if !lines().any(has_ours) {
        return;
    }
    let decided = host.is_marked(BAGGAGE);
    let mut builder = Builder::default();
    for member in lines().flat_map(members) {
        let is_decided = |key: &str| decided && host.is_marked(key);
        if !is_ours(&member) || std::str::from_utf8(member.key).is_ok_and(is_decided) {
            builder.keep(member.text);
        }
    }
    match builder.finish() {
        line if line.is_empty() => host.remove_request_header(BAGGAGE.as_bytes()),
        line => host.set_request_header(BAGGAGE, &line),
    }
}

/// Whether a line of baggage has a member that is ours by its key alone.
pub fn has_ours(line: &[u8]) -> bool {
    members(line).any(|member| is_ours(&member))
}

fn is_ours(member: &Member<'_>) -> bool {
    member.decoded_key().starts_with(PREFIX)
}

const BAGGAGE: &str = "baggage";

/// The position of the rollout that a member speaks of, however its key is spelled.
fn rollout_of(plan: &Plan, member: &Member<'_>) -> Option<usize> {
    let key = member.decoded_key();
    let name = key.strip_prefix(PREFIX)?;
    plan.rollout_named(std::str::from_utf8(name).ok()?)
}
