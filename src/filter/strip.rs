//! Keeps a client's own copies of our headers from the route table and from upstreams.

use smallvec::SmallVec;

use crate::engine::{Plan, Request};
use crate::http::{fold, HeaderName, Headers};

use super::Host;

/// Header names that this request's decisions set, each replacing whatever lines the client sent.
pub type Written<'a> = SmallVec<[&'a HeaderName; 4]>;

/// Removes every copy of an output header that the client sent, in any spelling.
///
/// What `written` names is replaced anyway. A peer that `inherit` trusts keeps its route header.
pub fn request_headers(
    host: &impl Host,
    plan: &Plan,
    request: &Request<'_>,
    written: &Written<'_>,
) {
    let mut removed: SmallVec<[&[u8]; 4]> = SmallVec::new();
    for (name, _) in request.headers().iter() {
        let Some(owner) = plan.owner(name) else { continue };
        let replaced = written.iter().any(|ours| ours.as_str().as_bytes() == name);
        let inherited = owner.heirs.iter().any(|&heir| {
            let rollout = plan.rollouts().get(heir);
            rollout.is_some_and(|rollout| {
                rollout.output.route_header.as_str().as_bytes() == name && rollout.trusts(request)
            })
        });
        if !replaced && !inherited && !removed.contains(&name) {
            host.remove_request_header(name);
            removed.push(name);
        }
    }
}

/// Removes our names from the trailers, where no peer has any business with them.
pub fn request_trailers(host: &impl Host, plan: &Plan) {
    let trailers = host.request_trailers();
    for (name, value) in trailers.iter() {
        let ours = plan.owner(name).is_some()
            || (name == b"baggage"
                && super::baggage::members_of_ours(plan, value).next().is_some());
        if ours {
            host.remove_request_trailer(name);
        }
    }
}

/// Removes everything that could be an output header of a configuration we could not read.
pub fn everything_of_ours(host: &impl Host, headers: &Headers) {
    let mut removed: SmallVec<[&[u8]; 4]> = SmallVec::new();
    for (name, _) in headers.iter() {
        let ours = fold(name).take(9).eq(b"x-cohort-".iter().copied());
        if ours && !removed.contains(&name) {
            host.remove_request_header(name);
            removed.push(name);
        }
    }
}
