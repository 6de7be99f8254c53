//! `$.rollouts[].versions[]`: one named side of a rollout.

use crate::http::HeaderName;

/// One named side of a rollout. Its weight is in the rollout's split.
#[derive(Clone, Debug)]
pub struct Version {
    pub name: String,
    /// The value of the cluster header, for Envoy routes with `cluster_header`.
    pub cluster: Option<String>,
    /// Without weight: nobody new, but those pinned stay.
    pub drain: bool,
    /// Set on requests that this version gets.
    pub request_headers: Vec<(HeaderName, String)>,
}
