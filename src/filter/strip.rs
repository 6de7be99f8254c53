//! Keeps a client's own copies of our headers from the route table and from upstreams.

use smallvec::SmallVec;

use crate::engine::{Plan, Request};
use crate::http::{HeaderName, Headers};

use super::neighbours::is_ours;
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

/// Removes from an answer what only we may say on it and `written` does not: another upstream's copies.
pub fn response_headers(host: &impl Host, plan: &Plan, headers: &Headers, written: &Written<'_>) {
    let mut removed: SmallVec<[&[u8]; 4]> = SmallVec::new();
    for (name, _) in headers.iter() {
        let ours = plan.owner(name).is_some_and(|owner| owner.answers);
        let is_written = || written.iter().any(|ours| ours.as_str().as_bytes() == name);
        if ours && !is_written() && !removed.contains(&name) {
            host.remove_response_header(name);
            removed.push(name);
        }
    }
}

/// Removes everything that could be an output header of a configuration we could not read. What another
/// instance of this filter decided on the same stream stays.
pub fn everything_of_ours(host: &impl Host, headers: &Headers) {
    let mut seen: SmallVec<[&[u8]; 4]> = SmallVec::new();
    for (name, _) in headers.iter() {
        if is_ours(name) && !seen.contains(&name) {
            seen.push(name);
            if !std::str::from_utf8(name).is_ok_and(|name| host.is_marked(name)) {
                host.remove_request_header(name);
            }
        }
    }
}

/// Removes everything from the trailers that could be ours.
pub fn every_trailer_of_ours(host: &impl Host) {
    for (name, value) in host.request_trailers().iter() {
        if is_ours(name) || (name == b"baggage" && super::baggage::has_ours(value)) {
            host.remove_request_trailer(name);
        }
    }
}
