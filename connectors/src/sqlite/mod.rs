//! The read model in one SQLite file, for a single machine.
//!
//! A sink with a colour keeps a file of its own beside it. Readers open `<name>.live.<extension>`, a link to the file of the
//! pipeline that is live.
//!
//! The same tables and the same transaction per batch as in Postgres. The file is in WAL mode, so that analysts can read
//! while the sink writes, and is synchronised at checkpoints only: after a power cut the last batches may be gone, rows
//! and positions together, and are read again from their topics.

mod config;
mod pointer;
mod sink;
mod statements;

use tidemill_core::settings::SettingsError;
use tidemill_core::{Settings, Sink, SinkSpec};

use crate::sql::CONSUMES;

pub(crate) const SPEC: SinkSpec = SinkSpec {
    name: "sqlite",
    summary: "The tables of the Postgres sink in one SQLite file, exactly once.",
    consumes: CONSUMES,
    example: r#"path = "read-models.db"
"#,
    open,
};

fn open(name: &str, settings: &Settings) -> Result<Box<dyn Sink>, Vec<SettingsError>> {
    let config = config::read(settings)?;
    Ok(Box::new(sink::SqliteSink::new(name, config)?))
}
