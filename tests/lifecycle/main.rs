//! What workers do with configurations, requests and answers: each test natively and in the module.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

mod analysis;
mod answers;
mod baggage;
mod guard;
mod health;
mod in_force;
mod metrics;
mod pins;
mod reload;
mod requests;
mod spoofing;
mod start;
mod visitors;
