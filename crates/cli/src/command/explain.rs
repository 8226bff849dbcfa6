//! `tidemill explain`: the topology in words, or the page of one code.

use tidemill_core::CodeSpec;
use tidemill_core::diagnostic::nearest;
use tidemill_runtime::conditions::{CONDITIONS, Condition};
use tidemill_runtime::worker::{REDRIVE_UNADDRESSED, VALUE_SCHEMA_UNKNOWN, VALUE_UNREADABLE};

use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::session::CATALOG;
use crate::{output, session};

pub(super) fn run(global: &Global, code: Option<&str>) -> Result<Exit, Failure> {
    match code {
        Some(code) => explain_code(global, code),
        None => {
            let (topology, _) = session::compile(global)?;
            output::line(tidemill_topology::explain::explain(&topology).trim_end())?;
            Ok(Exit::Ok)
        }
    }
}

/// Where a code comes from, and the code.
fn all_codes() -> Vec<(&'static str, &'static CodeSpec)> {
    let of_engine = [&tidemill_core::reject::BUG, &VALUE_UNREADABLE, &VALUE_SCHEMA_UNKNOWN, &REDRIVE_UNADDRESSED];
    let of_processors =
        CATALOG.processors.iter().flat_map(|processor| processor.codes.iter().map(|code| (processor.name, code)));
    let of_sinks = tidemill_connectors::CODES.iter().map(|code| ("sinks", *code));
    let of_produce = tidemill_schemas::json::JSON_CODES.iter().map(|code| ("produce", *code));
    let of_engine = of_engine.into_iter().map(|code| ("engine", code));
    of_engine.chain(of_processors).chain(of_sinks).chain(of_produce).collect()
}

/// Every code that a dead letter can have.
pub(super) fn record_codes() -> impl Iterator<Item = &'static str> {
    all_codes().into_iter().map(|(_, code)| code.code)
}

fn explain_code(global: &Global, name: &str) -> Result<Exit, Failure> {
    if let Some(finding) = tidemill_topology::codes::ALL.iter().find(|finding| finding.code == name) {
        output::line(&format!("{} (topology file)\n\n{}\n{}", finding.code, finding.summary, finding.remedy))?;
        return Ok(Exit::Ok);
    }
    if let Some(condition) = CONDITIONS.iter().find(|condition| condition.code == name) {
        return explain_condition(global, condition);
    }
    let codes = all_codes();
    let found: Vec<_> = codes.iter().filter(|(_, code)| code.code == name).collect();
    let Some((_, code)) = found.first() else {
        let failure = Failure::new(Exit::Usage, format!("no code `{name}`"));
        let known = codes.iter().map(|(_, code)| code.code).chain(CONDITIONS.iter().map(|condition| condition.code));
        return Err(match nearest(name, known) {
            Some(near) => failure.hint(format!("Did you mean `{near}`?")),
            None => failure.hint("`tidemill dev catalog` lists the processors; their codes are in docs/reference."),
        });
    };
    let by: Vec<&str> = found.iter().map(|(by, _)| *by).collect();
    if global.json {
        output::json(&serde_json::json!({
            "code": code.code, "class": code.class.name(), "by": by, "summary": code.summary, "remedy": code.remedy,
        }))?;
    } else {
        output::line(&format!("{} ({}, by {})\n", code.code, code.class.name(), by.join(", ")))?;
        output::line(code.summary)?;
        output::line(code.remedy)?;
    }
    Ok(Exit::Ok)
}

fn explain_condition(global: &Global, condition: &Condition) -> Result<Exit, Failure> {
    let Condition { code, summary, remedy } = condition;
    if global.json {
        output::json(
            &serde_json::json!({"code": code, "class": "condition", "by": ["engine"], "summary": summary, "remedy": remedy}),
        )?;
    } else {
        output::line(&format!("{code} (reported by the engine)\n"))?;
        output::line(summary)?;
        output::line(remedy)?;
    }
    Ok(Exit::Ok)
}
