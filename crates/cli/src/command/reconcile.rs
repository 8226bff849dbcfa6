//! `tidemill reconcile`: every record has exactly one outcome, and all money balances.

use serde::Serialize;
use tidemill_core::Currency;
use tidemill_core::money::decimal;
use tidemill_core::statement::InTransit;
use tidemill_runtime::provision::open_sink;

use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::output::{self, count};
use crate::reconciliation::{self, Path, Reconciliation};
use crate::session::{self, Access, Session};

pub(super) fn run(global: &Global) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let result = reconciliation::reconcile(&session)?;
    if global.json {
        output::json(&result)?;
    } else {
        print(&result)?;
    }
    Ok(if result.findings.is_empty() { Exit::Ok } else { Exit::Findings })
}

/// What is between accounts, by every read model of the live pipeline that keeps entries.
pub(super) fn in_transit(global: &Global) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let mut models = Vec::new();
    for plan in session.topology.sinks.iter().filter(|plan| session::keeps_entries(plan)) {
        let currencies = open_sink(plan)?.in_transit().map_err(|error| session::sink_failure(&plan.name, error))?;
        models.push(InTransitModel { sink: plan.name.clone(), currencies });
    }
    if global.json {
        output::json(&models)?;
        return Ok(Exit::Ok);
    }
    let mut rows = Vec::new();
    for model in &models {
        for currency in &model.currencies {
            let exponent = Currency::parse(&currency.currency).map_or(0, Currency::exponent);
            rows.push(vec![
                model.sink.clone(),
                currency.currency.clone(),
                decimal(currency.amount_minor, exponent),
                count(currency.payments),
                currency.oldest_at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
                count(currency.arrived_ahead),
                decimal(currency.accounts_minor, exponent),
                decimal(currency.clearing_minor, exponent),
            ]);
        }
    }
    output::table(
        &["sink", "currency", "amount", "payments", "oldest", "arrived ahead", "accounts", "clearing"],
        &rows,
    )?;
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct InTransitModel {
    sink: String,
    currencies: Vec<InTransit>,
}

/// The figures, then the verdict.
pub(super) fn print(result: &Reconciliation) -> Result<(), Failure> {
    for path in result.paths.iter().filter(|path| path.records_in > 0) {
        print_path(path)?;
    }
    for model in &result.read_models {
        let accounts = model.accounts.map_or_else(String::new, |accounts| format!("{} balances", count(accounts)));
        let outcomes = if model.outcomes > 0 { format!("{} answers", count(model.outcomes)) } else { String::new() };
        let parts: Vec<String> = [accounts, outcomes].into_iter().filter(|part| !part.is_empty()).collect();
        if !parts.is_empty() {
            output::line(&format!("{}: {}", model.sink, parts.join(", ")))?;
        }
    }
    for finding in &result.findings {
        output::line(&format!("DOES NOT ADD UP  {finding}"))?;
    }
    if result.findings.is_empty() {
        output::line(
            "Everything adds up: in = posted + rejected + duplicate + parked + dead + discarded, and debits = credits.",
        )?;
    }
    Ok(())
}

fn print_path(path: &Path) -> Result<(), Failure> {
    output::line(&format!("{}: {} in", path.topic, count(path.records_in)))?;
    let figures = [
        ("posted", path.posted),
        ("applied", path.applied),
        ("passed on", path.passed),
        ("duplicate", path.duplicate),
        ("parked", path.parked_now()),
        ("discarded", path.discarded),
        ("dead letters decided about", path.redriven),
    ];
    for (name, figure) in figures.into_iter().filter(|(_, figure)| *figure > 0) {
        output::line(&format!("  {:<40} {:>12}", name, count(figure)))?;
    }
    for (name, codes) in [("rejected", &path.rejected), ("dead", &path.dead)] {
        for (code, figure) in codes {
            output::line(&format!("  {:<40} {:>12}", format!("{name}: {code}"), count(*figure)))?;
        }
    }
    output::line("")
}
