//! `tidemill statement`: one account over a period, from the tables of a SQL sink.
//!
//! A statement that does not add up is not printed.

mod camt053;
mod plain;

use tidemill_core::statement::{Finality, Period, Statement};
use tidemill_core::{Currency, EventTime};
use tidemill_runtime::provision::open_sink;
use tidemill_topology::Topology;
use tidemill_topology::plan::SinkPlan;

use crate::args::{Global, StatementArgs, StatementFormat};
use crate::exit::{Exit, Failure};
use crate::session::{Access, Session};
use crate::{output, session};

pub(super) fn run(global: &Global, args: &StatementArgs) -> Result<Exit, Failure> {
    let period = Period { from: instant("--from", &args.from)?, until: instant("--until", &args.until)? };
    if period.until <= period.from {
        return Err(Failure::new(Exit::Usage, "`--until` must be later than `--from`"));
    }
    let session = Session::open(global, Access::Read)?;
    let plan = sink(&session.topology, args.sink.as_deref())?;
    let statement = open_sink(plan)?
        .statement(&args.account, period)
        .map_err(|error| session::sink_failure(&plan.name, error))?
        .ok_or_else(|| {
            Failure::new(Exit::Findings, format!("{}: `{}` has no statement", plan.name, args.account)).hint(
                "Either there is no such account (look at the name, and with `tidemill status` at how far the sink is), or \
                 it is an internal one that only carries the other side of entries.",
            )
        })?;
    statement.check().map_err(|error| {
        Failure::new(Exit::Findings, format!("{}: the statement does not add up: {error}", plan.name)).hint(
            "Rebuild the read model: docs/reference/read-models.md says how. `tidemill reconcile` finds the rest.",
        )
    })?;
    let exponent = exponent(&statement)?;
    let text = match if global.json { StatementFormat::Json } else { args.format } {
        StatementFormat::Text => return plain::table(&statement, exponent).map(|()| Exit::Ok),
        StatementFormat::Csv => plain::csv(&statement, exponent)?,
        StatementFormat::Json => plain::json(&statement, exponent)?,
        StatementFormat::Camt053 => {
            camt053::document(&statement, exponent, EventTime(jiff::Timestamp::now().as_microsecond()))?
        }
    };
    if statement.finality == Finality::Provisional {
        eprintln!("provisional: the account has no entry after the period yet, so one can still be booked in it");
    }
    output::line(text.trim_end())?;
    Ok(Exit::Ok)
}

/// Midnight UTC of a day, or an instant.
fn instant(option: &str, text: &str) -> Result<EventTime, Failure> {
    EventTime::parse(text).or_else(|| EventTime::parse(&format!("{text}T00:00:00Z"))).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{option}` is neither a day like 2026-01-31 nor an RFC 3339 time"))
    })
}

fn sink<'a>(topology: &'a Topology, name: Option<&str>) -> Result<&'a SinkPlan, Failure> {
    let mut candidates = topology.sinks.iter().filter(|plan| session::keeps_entries(plan));
    let found = candidates.find(|plan| name.is_none_or(|name| plan.name == name));
    found.ok_or_else(|| match name {
        Some(name) => Failure::new(Exit::Usage, format!("the topology has no SQL sink `{name}`")),
        None => Failure::new(Exit::Config, "the topology has no SQL sink"),
    })
}

fn exponent(statement: &Statement) -> Result<u32, Failure> {
    let currency = Currency::parse(&statement.currency);
    let unknown = || Failure::new(Exit::Findings, format!("{} has no minor unit", statement.currency));
    Ok(currency.ok_or_else(unknown)?.exponent())
}
