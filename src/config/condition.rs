//! Conditions: `$.rollouts[].match[]`, `$.rollouts[].rules[].match[]`, `$.segments.*[]`.

use crate::http::{HeaderName, Network, Pattern};

use super::pattern::{HostPattern, PathPattern};
use super::place::{Place, Problems};
use super::read::{List, Map};
use super::shape::{read_by_shape, shape};
use super::text::{CookieName, Method, QueryName};
use super::value::Value;

/// What a request must be like: all the parts that are stated hold.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// The `:authority`, in lower case and without its port. Exact patterns are in lower case, and the
    /// others ignore case: host names have none.
    pub host: Option<Pattern>,
    /// The path without the query string.
    pub path: Option<Pattern>,
    /// Any of these methods; empty is any method.
    pub method: Vec<String>,
    /// The first line of each header.
    pub headers: Vec<(HeaderName, Pattern)>,
    /// The first cookie of each exact name.
    pub cookies: Vec<(String, Pattern)>,
    /// The first query parameter of each exact name, as it stands.
    pub query: Vec<(String, Pattern)>,
    /// The client's address is in one of these; `None` is any address.
    pub address: Option<Vec<Network>>,
    /// This does not hold.
    pub not: Option<Box<Condition>>,
}

shape! {
    /// What a request must be like: all the parts that are stated hold.
    ConditionShape: "a condition, which is an object with host, path, method, header, cookie, query, address or not" {
        /// The host, in lower case and without its port.
        "host" host: optional HostPattern,
        /// The path without the query string.
        "path" path: optional PathPattern,
        /// Any of these methods.
        "method" method: optional List<Method, 1>,
        /// The first line of each of these headers.
        "header" header: optional Map<HeaderName, Pattern, 1>,
        /// The first cookie of each of these names.
        "cookie" cookie: optional Map<CookieName, Pattern, 1>,
        /// The first query parameter of each of these names, as it stands in the URL.
        "query" query: optional Map<QueryName, Pattern, 1>,
        /// The client's address is in one of these networks.
        "address" address: optional List<Network, 1>,
        /// This does not hold.
        "not" not: optional Condition,
    }
    also r#"{"minProperties": 1}"#
}

read_by_shape!(
    Condition,
    ConditionShape,
    |shape: ConditionShape, at: &Place<'_>, problems: &mut Problems| {
        if matches!(at.value(), Value::Object(entries) if entries.is_empty()) {
            let allowed = "a condition with one part or more of host, path, method, header, cookie, query, address, not";
            problems.add(at, "an empty condition".to_owned(), allowed.to_owned());
        }
        Some(Condition {
            host: shape.host.given().map(|host| host.0),
            path: shape.path.given().map(|path| path.0),
            method: whole(shape.method.given().and_then(List::whole), |method| method.0),
            headers: shape.header.given().and_then(Map::whole).unwrap_or_default(),
            cookies: whole(shape.cookie.given().and_then(Map::whole), |(name, pattern)| {
                (name.0, pattern)
            }),
            query: whole(shape.query.given().and_then(Map::whole), |(name, pattern)| {
                (name.0, pattern)
            }),
            address: shape.address.given().and_then(List::whole),
            not: shape.not.given().map(Box::new),
        })
    }
);

fn whole<T, U>(list: Option<Vec<T>>, plain: fn(T) -> U) -> Vec<U> {
    list.unwrap_or_default().into_iter().map(plain).collect()
}
