//! Plugins that write the same header on the same requests.

use std::collections::BTreeMap;

use super::written::headers;
use super::Warning;
use crate::cli::source::Document;
use crate::cli::style::plain;

/// Plugins of one chain that write the same header: the one that runs last has the last word.
pub fn chains(documents: &[Document]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut first: BTreeMap<(&str, &str), (usize, &str)> = BTreeMap::new();
    for (position, document) in documents.iter().enumerate() {
        let Some(carrier) = document.carrier.as_deref() else { continue };
        let rollouts = document.config.iter().flat_map(|config| &config.rollouts);
        let mut told: Vec<&str> = Vec::new();
        for header in rollouts.flat_map(headers) {
            let (other, name) =
                *first.entry((&document.chain, header)).or_insert((position, carrier));
            if other != position && !told.contains(&header) {
                told.push(header);
                warnings.push(Warning {
                    at: document.at,
                    place: plain(carrier).into_owned(),
                    text: format!(
                        "writes {header}, as {} does: of two plugins that a request passes, the one that \
                         runs last decides",
                        plain(name)
                    ),
                });
            }
        }
    }
    warnings
}
