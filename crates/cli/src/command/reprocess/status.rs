//! `reprocess status`: which pipeline is live, and how far a reprocess has come.

use serde_json::{Value, json};
use tidemill_core::EventTime;
use tidemill_runtime::reprocess::{Standing, processed, standing};
use tidemill_topology::{Colour, Topology};

use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::output::{self, count};
use crate::session::{self, Access, Session};

pub(super) fn run(global: &Global) -> Result<Exit, Failure> {
    let (base, _warnings) = session::compile(global)?;
    let session = Session::connect(std::sync::Arc::new(base.clone()), Access::Read)?;
    let note = &session.note;
    let behind = match &note.run {
        Some(run) => {
            standing_of(&session, &base.with_colour(&run.colour), run.phase.is_cutover().then(|| run.limits()))?
        }
        None => None,
    };
    let live = note.live.as_ref().map_or("(without a colour)", Colour::as_str);
    if global.json {
        let run = note.run.as_ref().map(|run| {
            json!({
                "as": run.colour, "phase": run.phase, "from": run.from, "plan": run.plan_hash(), "by": run.actor,
                "reason": run.reason, "started_at": EventTime::from_millis(run.started_at_ms).to_string(),
                "done": behind.as_ref().map(|standing| standing.done),
                "total": behind.as_ref().map(|standing| standing.total),
                "under_way": behind.as_ref().map(|standing| standing.under_way),
            })
        });
        output::json(&json!({"live": note.live, "replaced": note.replaced, "reprocess": run.unwrap_or(Value::Null)}))?;
        return Ok(Exit::Ok);
    }
    output::line(&format!("live: {live}"))?;
    let Some(run) = &note.run else { return output::line("no reprocess is under way").map(|()| Exit::Ok) };
    let place = behind.map_or_else(String::new, |standing| {
        format!(
            ", {} of {} offsets, {} under way",
            count(standing.done),
            count(standing.total),
            count(standing.under_way)
        )
    });
    output::line(&format!("{}: {}{place}", run.colour, run.phase.name()))?;
    let at = EventTime::from_millis(run.started_at_ms).to_string();
    output::line(&format!("begun {at} by {}: {}", run.actor, run.reason))?;
    Ok(Exit::Ok)
}

/// `None` where the new pipeline has no topics yet, or no longer.
fn standing_of(
    session: &Session,
    green: &Topology,
    limits: Option<tidemill_runtime::reprocess::Limits>,
) -> Result<Option<Standing>, Failure> {
    let limits = match limits {
        Some(limits) => limits,
        None => processed(session.broker.as_ref(), &session.topology)?,
    };
    Ok(standing(session.broker.as_ref(), green, &limits, session.clock.unix_ms()).ok())
}
