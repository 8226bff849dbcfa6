//! The compiler from the outside: files in, findings or plans out.

mod bad_topologies;
mod default_topology;
mod schema_and_docs;
mod support;
