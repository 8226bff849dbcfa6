//! Compiles topology.toml: raw text to a validated plan, with all findings at once.

pub mod plan;

pub use plan::Topology;
