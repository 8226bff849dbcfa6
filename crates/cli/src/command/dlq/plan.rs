//! `dlq plan`: which letters would go back, and what would become of each today.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tidemill_runtime::replay::{Destination, Failing, LoopGuard, Plan, Validator, Verdict, Wish};
use tidemill_schemas::CODECS;

use super::visit_letters;
use crate::args::{DlqPlanArgs, Global};
use crate::exit::{Exit, Failure};
use crate::operations::{actor, filter_of};
use crate::output::{self, count};
use crate::session::{Access, Session};

/// Of letters that have one reason in common.
const PLACES_SHOWN_MAX: usize = 5;

pub(super) fn run(global: &Global, args: &DlqPlanArgs) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    let now_ms = session.clock.unix_ms();
    let wish = Wish {
        topic: args.topic.clone(),
        filter: filter_of(&args.filter, now_ms)?,
        destination: destination(&session, &args.destination)?,
        failing: if args.include_failing { Failing::Sent } else { Failing::Left },
        created_by: actor(),
    };
    let loops = if args.override_loop { LoopGuard::Off } else { LoopGuard::On };
    let plan = make(&session, wish, loops)?;
    write(&plan, &args.out)?;
    show(global, &plan, &args.out)?;
    let is_looping = plan.items.iter().any(|item| matches!(item.verdict, Verdict::Guarded(_)));
    Ok(if is_looping { Exit::Refused } else { Exit::Ok })
}

/// Judges every letter that is meant and not resolved.
pub(in crate::command) fn make(session: &Session, wish: Wish, loops: LoopGuard) -> Result<Plan, Failure> {
    let mut validator = validator(session);
    let mut items = Vec::new();
    let ends = visit_letters(session, Some(&wish.topic), &wish.filter, |letter, resolution| {
        if resolution.is_none() {
            items.push(validator.judge(&letter, &wish.destination, loops, None)?);
        }
        Ok(())
    })?;
    Ok(Plan::new(&session.topology, wish, session.clock.unix_ms(), ends, items))
}

pub(super) fn validator(session: &Session) -> Validator {
    let Session { topology, broker, registry, clock, .. } = session;
    Validator::new(Arc::clone(topology), Arc::clone(broker), Arc::clone(registry), Arc::clone(clock), CODECS)
}

fn destination(session: &Session, text: &str) -> Result<Destination, Failure> {
    match text {
        "stage" => Ok(Destination::Stage),
        "origin" => Ok(Destination::Origin),
        topic if session.topology.topics.contains_key(topic) => {
            Err(Failure::new(Exit::Usage, format!("{topic} is a topic of the pipeline"))
                .hint("Name a topic of its own to look at letters, or take `stage` or `origin`."))
        }
        topic if session.broker.topics()?.iter().any(|known| known.name == topic) => {
            Ok(Destination::Sandbox(topic.to_owned()))
        }
        topic => Err(Failure::new(Exit::Usage, format!("there is no topic {topic}"))
            .hint("Take `stage`, `origin`, or a topic that exists and is not the pipeline's.")),
    }
}

pub(in crate::command) fn write(plan: &Plan, path: &Path) -> Result<(), Failure> {
    let failure = |error: std::io::Error| Failure::new(Exit::Findings, format!("{}: {error}", path.display()));
    std::fs::write(path, plan.encode()).map_err(failure)
}

pub(super) fn read(path: &Path) -> Result<Plan, Failure> {
    let failure = |error: std::io::Error| Failure::new(Exit::Usage, format!("{}: {error}", path.display()));
    Ok(Plan::decode(&std::fs::read_to_string(path).map_err(failure)?)?)
}

/// Places of letters that are held back, by the reason.
fn guarded(plan: &Plan) -> BTreeMap<&'static str, Vec<String>> {
    let mut guarded: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for item in &plan.items {
        if let Verdict::Guarded(refusal) = &item.verdict {
            guarded.entry(refusal.message()).or_default().push(format!("{}@{}", item.partition, item.offset));
        }
    }
    guarded
}

/// What the plan would do, in words.
pub(in crate::command) fn show(global: &Global, plan: &Plan, path: &Path) -> Result<(), Failure> {
    let counts = plan.counts();
    if global.json {
        return output::json(&json!({
            "event": "result", "plan": path.display().to_string(), "hash": plan.hash, "topic": plan.topic,
            "items": plan.items.len(), "passes": counts.passes, "fails": counts.fails, "guarded": counts.guarded,
            "edited": counts.edited,
        }));
    }
    let mut parts = vec![format!("{} would pass", count(counts.passes))];
    parts.extend(counts.fails.iter().map(|(code, number)| format!("{} still fail with {code}", count(*number))));
    output::line(&parts.join(", "))?;
    for (message, places) in guarded(plan) {
        let shown = places.iter().take(PLACES_SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
        let more = if places.len() > PLACES_SHOWN_MAX { ", …" } else { "" };
        eprintln!("left where they are: {}: {message} ({shown}{more})", count(places.len() as u64));
    }
    if counts.edited > 0 {
        output::line(&format!("{} edited", count(counts.edited)))?;
    }
    output::line(&format!("plan {} written to {}", plan.hash.get(..12).unwrap_or_default(), path.display()))
}
