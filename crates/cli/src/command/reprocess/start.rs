//! `reprocess start`: begins a second pipeline, or goes on with it, up to where the live one is.

use std::collections::BTreeMap;

use serde_json::json;
use tidemill_core::EventTime;
use tidemill_runtime::broker::{Isolation, TopicPartition};
use tidemill_runtime::reprocess::{Note, Phase, Retired, Run, StartFrom, begin, processed, shared_inputs};
use tidemill_runtime::rewind::stores_of;
use tidemill_schemas::ASKS_OUTSIDE;
use tidemill_topology::Topology;

use super::pair::Pair;
use super::running::{Passage, with_read_models};
use super::{action, refuse, step};
use crate::args::{Global, ReprocessRunArgs};
use crate::exit::{Exit, Failure};
use crate::operations::{actor, check_reason, moment};
use crate::output::{self, count};
use crate::session::{Access, Session};
use crate::stop::Stop;

pub(super) fn run(global: &Global, from: &str, args: &ReprocessRunArgs, reason: &str) -> Result<Exit, Failure> {
    check_reason(reason)?;
    let pair = Pair::open(global, args.with.as_deref(), Access::Reprocess { workers: args.workers })?;
    let session = &pair.session;
    let stop = Stop::on_signals()?;
    let mut operator = session.operator_of_reprocess()?;
    let run = match &session.note.run {
        None => fresh(&pair, from, reason)?,
        Some(run) if run.colour == pair.colour => pair.run()?,
        Some(run) => {
            let message = format!("a reprocess as {} is {}", run.colour, run.phase.name());
            let refused = refuse(&mut operator, action("start", run, reason, &[]), "reprocess_busy", &message)?;
            return Err(refused.hint("Finish it with `cutover`, or take it away with `abort`."));
        }
    };
    if run.phase != Phase::Running {
        let message = format!("the reprocess as {} is {} already", run.colour, run.phase.name());
        let refused = refuse(&mut operator, action("start", &run, reason, &[]), "cutover_under_way", &message)?;
        return Err(refused.hint("Go on with `cutover`, or take it away with `abort`."));
    }
    if let Some((code, message)) = stands_against(session, &pair.green, &run)? {
        return Err(refuse(&mut operator, action("start", &run, reason, &[]), code, &message)?.hint(
            "What state holds comes of everything before; begin at the beginning, with inputs that still have theirs.",
        ));
    }
    session.provision_of(&pair.green)?;
    let note = Note { run: Some(run.clone()), ..session.note.clone() };
    if session.note.run.is_none() {
        begin(&mut operator, &pair.green, &note, action("start", &run, reason, &[]))?;
        eprintln!("step: begun");
    } else {
        step(&mut operator, &note, action("resume", &run, reason, &[]), "resumed")?;
    }
    let limits = processed(session.broker.as_ref(), &pair.blue)?;
    let topology = with_read_models(&pair.green)?;
    let passage = Passage {
        session,
        topology: &topology,
        limits: &limits,
        withheld: ASKS_OUTSIDE,
        retired: Retired::Refused,
        instance: &args.instance,
        workers: args.workers,
        label: "reprocessed",
    };
    if !passage.run(&stop)? {
        eprintln!("interrupted; the same command goes on from here");
        return Ok(Exit::Interrupted);
    }
    let records = passage.standing()?.done;
    step(&mut operator, &note, action("caught_up", &run, reason, &[("offsets", records)]), "caught up")?;
    if global.json {
        output::json(&json!({"event": "result", "as": pair.colour.as_str(), "phase": "running", "offsets": records}))?;
    } else {
        output::line(&format!("{} has come to where the live pipeline was, {} offsets", pair.colour, count(records)))?;
    }
    Ok(Exit::Ok)
}

fn fresh(pair: &Pair, from: &str, reason: &str) -> Result<Run, Failure> {
    let now_ms = pair.session.clock.unix_ms();
    Ok(Run {
        colour: pair.colour.clone(),
        phase: Phase::Running,
        from: beginning(&pair.session, &pair.green, from)?,
        blue_config_hash: pair.blue.pipeline.config_hash.clone(),
        green_config_hash: pair.green.pipeline.config_hash.clone(),
        stopped_at: BTreeMap::new(),
        actor: actor(),
        reason: reason.to_owned(),
        started_at_ms: now_ms,
        at_ms: now_ms,
    })
}

/// `beginning`, a time, or offsets.
fn beginning(session: &Session, green: &Topology, from: &str) -> Result<StartFrom, Failure> {
    if from == "beginning" {
        return Ok(StartFrom::Beginning);
    }
    let mut offsets: BTreeMap<String, BTreeMap<u32, u64>> = BTreeMap::new();
    if from.contains('=') {
        for part in from.split(',') {
            let parsed = part.split_once('=').and_then(|(place, offset)| {
                let (topic, partition) = place.rsplit_once('/')?;
                Some((topic.to_owned(), partition.parse::<u32>().ok()?, offset.parse::<u64>().ok()?))
            });
            let (topic, partition, offset) = parsed.ok_or_else(|| {
                Failure::new(Exit::Usage, format!("`{part}` is not of the form TOPIC/PARTITION=OFFSET"))
            })?;
            offsets.entry(topic).or_default().insert(partition, offset);
        }
        return Ok(StartFrom::Offsets(offsets));
    }
    let time_ms = match EventTime::parse(from) {
        Some(time) => time.millis(),
        None => moment(from, session.clock.unix_ms())?,
    };
    for topic in shared_inputs(green) {
        let partitions = green.topics.get(&topic).map_or(0, |topic| topic.partitions);
        for number in 0..partitions {
            let partition = TopicPartition::new(topic.as_str(), number);
            let end = session.broker.watermarks(&partition, Isolation::ReadCommitted)?.high;
            let first = session.broker.offset_for_time(&partition, time_ms)?.unwrap_or(end);
            offsets.entry(topic.clone()).or_default().insert(number, first);
        }
    }
    Ok(StartFrom::Offsets(offsets))
}

/// State holds what came of every record before, so that it cannot begin in the middle.
fn stands_against(session: &Session, green: &Topology, run: &Run) -> Result<Option<(&'static str, String)>, Failure> {
    if let StartFrom::Offsets(_) = run.from {
        let unit = green.units.iter().find(|unit| !stores_of(unit).is_empty());
        return Ok(unit.map(|unit| {
            let stores = stores_of(unit).join(", ");
            ("reprocess_needs_beginning", format!("unit {} keeps state ({stores})", unit.name))
        }));
    }
    for topic in shared_inputs(green) {
        let partitions = green.topics.get(&topic).map_or(0, |topic| topic.partitions);
        for number in 0..partitions {
            let partition = TopicPartition::new(topic.as_str(), number);
            let low = session.broker.watermarks(&partition, Isolation::ReadCommitted)?.low;
            if low > 0 {
                let message = format!("{topic} partition {number} begins at {low}: what was before is gone");
                return Ok(Some(("reprocess_inputs_cut", message)));
            }
        }
    }
    Ok(None)
}
