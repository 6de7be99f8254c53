//! Which plugin of the proxy this is.

use std::rc::Rc;

use super::Host;

/// What tells a plugin from the others in the same proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The value of the label `plugin`: the plugin's name up to the first `~`. Istio from 1.31 appends
    /// `~istio-translated-wasmplugin` to the name of a WasmPlugin, and neither a change of Istio's version
    /// nor one of the kind may start anything anew. A plugin without a name goes by its root id.
    pub plugin: Rc<str>,
    /// What begins the keys of its records in the data that all plugins of a proxy share.
    pub records: String,
}

impl Identity {
    /// The identity of the plugin that asks.
    pub fn of(host: &impl Host) -> Self {
        let (name, root_id) = (host.plugin_name(), host.root_id());
        let name = name.split('~').next().unwrap_or_default();
        let plugin = if name.is_empty() { root_id.as_str() } else { name };
        // `;.;` would end the label in a time series' name.
        let plugin: Rc<str> = plugin.replace(';', "_").into();
        Self { records: format!("cohort/{plugin}/{root_id}"), plugin }
    }
}
