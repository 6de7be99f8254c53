//! `$.rollouts[].analysis[]`: checks against a metrics server.

use std::fmt;

use crate::bucket::VersionIndex;
use crate::http::HeaderName;

use super::shared::Firsts;
use super::text::{has_control, is_framing, AUTHORITY, CLUSTER_NAME, NAME, REFERENCE, TOKEN};
use super::version::{again, Versions};
use super::Millis;
use crate::document::node::{Node, Problems};
use crate::document::scalar::{count, span};
use crate::document::shape::{shape, words, Kind, Scalar, Text};

/// A question to a metrics server, and which answers speak against a version.
#[derive(Clone)]
pub struct Check {
    /// Unique in its rollout; the label `check`.
    pub name: String,
    /// The version that bad answers take out; not stable.
    pub version: VersionIndex,
    /// The cluster of the metrics server.
    pub cluster: String,
    /// The `host` header; default the cluster's name.
    pub host: String,
    /// A PromQL expression that gives one number.
    pub query: String,
    /// A number below this is bad; at least one of this and `max` is given.
    pub min: Option<f64>,
    /// A number above this is bad.
    pub max: Option<f64>,
    /// How often it is asked; default 30 s, 5 s to 1 h.
    pub interval: Millis,
    /// How long an answer may take; default 5 s, at most the interval.
    pub timeout: Millis,
    /// Bad looks in a row that take the version out; default 3, 1 to 1,000.
    pub failures: u32,
    pub on_no_data: OnNoData,
    /// Sent with the question; a secret, such as a token.
    pub request_headers: Vec<(HeaderName, String)>,
}

/// What an answer without data means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNoData {
    /// Nothing: the look does not count.
    #[default]
    Ignore,
    /// A bad look.
    Fail,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, query, min, max, request_headers, .. } = self;
        let names: Vec<&str> = request_headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Check")
            .field("name", name)
            .field("version", version)
            .field("query", query)
            .field("min", min)
            .field("max", max)
            .field("request_headers", &names)
            .finish_non_exhaustive()
    }
}

words! {
    ON_NO_DATA, on_no_data: OnNoData {
        "ignore" => OnNoData::Ignore, "fail" => OnNoData::Fail
    }
}

/// The checks of a rollout.
pub(super) const ANALYSIS: Kind = Kind::List(&ONE, 0);
const ONE: Kind = Kind::Object(&CHECK);

shape! {
    /// A question to a metrics server that can take a version out.
    CHECK, CheckKeys: "Check", "an object with name, version, cluster, query, and min or max" {
        /// The check's name, unique in its rollout.
        name = "name": required Kind::Text(&NAME),
        /// The version that bad answers take out; not stable.
        version = "version": required Kind::Text(&REFERENCE),
        /// The proxy's cluster of a Prometheus, or of a server with the same query API.
        cluster = "cluster": required Kind::Text(&CLUSTER_NAME),
        /// The host header; absent, the cluster's name.
        host = "host": optional Kind::Text(&AUTHORITY),
        /// A PromQL expression that gives one number.
        query = "query": required Kind::Text(&QUERY),
        /// A number below this is bad.
        min = "min": optional Kind::Real,
        /// A number above this is bad.
        max = "max": optional Kind::Real,
        /// How often it is asked, from 5s to 1h.
        interval = "interval": default span(5_000, 3_600_000) => Scalar::Text("30s"),
        /// How long an answer may take, at most the interval.
        timeout = "timeout": default span(1, 3_600_000) => Scalar::Text("5s"),
        /// How many bad looks in a row take the version out, from 1 to 1000.
        failures = "failures": default count(1, 1000) => Scalar::Number(3.0),
        /// What an answer without data means: nothing, or a bad look.
        on_no_data = "onNoData": default ON_NO_DATA => Scalar::Text("ignore"),
        /// Headers that go with the question, such as authorization; their values are secrets.
        request_headers = "requestHeaders": optional Kind::Map(&SENT_HEADER, &SECRET, 0),
    }
    also r#"{"anyOf": [{"required": ["min"]}, {"required": ["max"]}]}"#
}

/// A PromQL expression.
static QUERY: Text = Text::new("a PromQL expression of at most 4096 bytes", "\\S", |text| {
    text.len() <= 4096 && text.bytes().any(|byte| !byte.is_ascii_whitespace())
});

/// The name of a header that goes with a question: none that says where a message ends or whom it is for.
static SENT_HEADER: Text = Text::new(
    "a header name of 1 to 256 letters, digits and !#$%&'*+-.^_`|~ \
    that HTTP does not need for itself (host, connection, content-length and the like)",
    TOKEN,
    |text| HeaderName::new(text).is_some_and(|name| !is_framing(name.as_str())),
)
.in_any_case();

const SECRET: Kind = Kind::Text(&SECRET_VALUE);

/// A header's value that is never shown.
static SECRET_VALUE: Text = Text::new(
    "text without control characters and without spaces at either end",
    "^([^\\u0000-\\u0020\\u007f]([^\\u0000-\\u001f\\u007f]*[^\\u0000-\\u0020\\u007f])?)?$",
    |text| !has_control(text) && !text.starts_with(' ') && !text.ends_with(' '),
)
.kept_secret(|_| "a value with other characters".to_owned());

/// The checks in the list at `node`.
pub(super) fn check(
    node: &Node<'_>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Check>> {
    let mut names = Firsts::default();
    let mut checks = Vec::with_capacity(node.entries().len());
    for (index, entry) in node.entries().iter().enumerate() {
        let keys = CheckKeys::of(entry);
        if let Some(name) = keys.name.text() {
            if names.note(name, index).is_some() {
                again(name, keys.name, problems);
            }
        }
        checks.extend(check_one(entry, versions, problems));
    }
    (checks.len() == node.entries().len()).then_some(checks)
}

fn check_one(
    node: &Node<'_>,
    versions: &Versions<'_>,
    problems: &mut Problems<'_>,
) -> Option<Check> {
    if !node.is_given() {
        return None;
    }
    let CheckKeys {
        name,
        version,
        cluster,
        host,
        query,
        min,
        max,
        interval,
        timeout,
        failures,
        on_no_data: no_data,
        request_headers,
    } = CheckKeys::of(node);
    if min.is_absent() && max.is_absent() && !node.has_unknown_keys {
        problems.add(node, "neither min nor max", "one of them or both");
    }
    if let (Some(least), Some(most)) = (min.real(), max.real()) {
        if least > most {
            problems.add(min, &min.value.shown(), "a number of at most max");
        }
    }
    if let (Some(timeout_is), Some(interval)) = (timeout.number(), interval.number()) {
        if timeout_is > interval {
            problems.add(timeout, &timeout.value.shown(), "a duration of at most the interval");
        }
    }
    let index = version.text().and_then(|name| versions.find(name, version, problems));
    if index.is_some_and(|index| versions.is_stable(index)) {
        problems.add(version, &version.value.shown(), "a version other than stable");
    }
    // Nothing is copied before all is known to be there, which keeps the code small.
    let (name, cluster, query) = (name.text()?, cluster.text()?, query.text()?);
    let (interval, timeout) = (interval.number()?, timeout.number()?);
    let (version, failures, on_no_data) = (index?, failures.small()?, on_no_data(no_data)?);
    let mut headers = Vec::new();
    for header in request_headers.entries() {
        if let (Some(name), Some(value)) = (HeaderName::new(header.key), header.text()) {
            headers.push((name, value.to_owned()));
        }
    }
    Some(Check {
        name: name.to_owned(),
        version,
        cluster: cluster.to_owned(),
        host: host.text().unwrap_or(cluster).to_owned(),
        query: query.to_owned(),
        min: min.real(),
        max: max.real(),
        interval,
        timeout,
        failures,
        on_no_data,
        request_headers: headers,
    })
}
