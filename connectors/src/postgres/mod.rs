//! The read model in Postgres.
//!
//! One database transaction per batch: it locks the task's row in `read_model_owners` and compares owner and epoch,
//! skips what the stored positions already cover, writes the rows with one statement per table, moves the positions, and
//! commits. A batch that is written again after an unknown outcome therefore changes nothing.
//!
//! A sink with a colour keeps its tables in a schema of that name. Analysts read the views of schema `live`, which show the
//! tables of the pipeline that is live.
//!
//! Every connection problem is `Unavailable` and closes the connection; the next call opens a new one.

mod arrays;
mod config;
mod failure;
mod pointer;
mod sink;

use tidemill_core::settings::SettingsError;
use tidemill_core::{Settings, Sink, SinkSpec};

use crate::sql::CONSUMES;

pub(crate) const SPEC: SinkSpec = SinkSpec {
    name: "postgres",
    summary: "Tables for analysts in Postgres, exactly once.",
    consumes: CONSUMES,
    example: r#"url = "postgres://tidemill:${POSTGRES_PASSWORD}@localhost:5432/tidemill"
"#,
    open,
};

fn open(name: &str, settings: &Settings) -> Result<Box<dyn Sink>, Vec<SettingsError>> {
    let config = config::read(settings)?;
    Ok(Box::new(sink::PostgresSink::new(name, config)?))
}
