//! What any proxy-wasm filter costs that makes the same calls to the proxy. `stairs.rs` makes a few more with each
//! feature; `calls.rs`, with the feature `calls`, tells what one call costs.

#[cfg(feature = "calls")]
#[path = "calls.rs"]
mod filter;
#[cfg(not(feature = "calls"))]
#[path = "stairs.rs"]
mod filter;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::<filter::Root>::default());
}}
