//! Conditions: `$.rollouts[].match[]`, `$.rollouts[].rules[].match[]`, `$.segments.*[]`.

use crate::http::{HeaderName, Network, Pattern};

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
