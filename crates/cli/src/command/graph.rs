//! `tidemill graph`.

use tidemill_topology::graph::{Format, render};

use crate::args::{Global, GraphFormat};
use crate::exit::{Exit, Failure};
use crate::{output, session};

pub(super) fn run(global: &Global, format: GraphFormat) -> Result<Exit, Failure> {
    let (topology, _) = session::compile(global)?;
    let format = match format {
        GraphFormat::Mermaid => Format::Mermaid,
        GraphFormat::Dot => Format::Dot,
        GraphFormat::Json => Format::Json,
    };
    output::line(render(&topology, format).trim_end())?;
    Ok(Exit::Ok)
}
