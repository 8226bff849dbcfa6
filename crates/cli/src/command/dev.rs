//! `tidemill dev`: what somebody who builds on Tidemill looks up.

use tidemill_schemas::CODECS;

use crate::args::DevCommand;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::session::CATALOG;

pub(super) fn run(command: &DevCommand) -> Result<Exit, Failure> {
    match command {
        DevCommand::TopologySchema => output::json(&tidemill_topology::json_schema())?,
        DevCommand::Catalog => catalog()?,
        DevCommand::Schema { kind } => {
            let known: Vec<&str> = CODECS.iter().map(|codec| codec.kind.name).collect();
            let codec = CODECS.iter().find(|codec| codec.kind.name == kind).ok_or_else(|| {
                let failure = Failure::new(Exit::Usage, format!("no event kind `{kind}`"));
                failure.hint(format!("Known are {}.", known.join(", ")))
            })?;
            output::line(codec.schema.trim_end())?;
        }
    }
    Ok(Exit::Ok)
}

fn catalog() -> Result<(), Failure> {
    for processor in CATALOG.processors {
        output::line(&format!("processor  {:<24} {}", processor.name, processor.summary))?;
    }
    for codec in CATALOG.codecs {
        output::line(&format!("event      {:<24} {}", codec.kind.name, codec.summary))?;
    }
    for sink in CATALOG.sinks {
        output::line(&format!("sink       {:<24} {}", sink.name, sink.summary))?;
    }
    Ok(())
}
