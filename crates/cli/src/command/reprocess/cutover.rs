//! `reprocess cutover`: the live pipeline is stopped, both come to rest at the same place, and the new one takes over.
//!
//! Each step is noted in one transaction with its audit entry, and can be done again. Whoever kills the command calls it
//! again, and it goes on with the step that was noted last.

use std::time::{Duration, Instant};

use serde_json::json;
use tidemill_runtime::operator::Operator;
use tidemill_runtime::provision::{ProvisionError, open_sink};
use tidemill_runtime::reprocess::{Note, Phase, Replaced, Retired, Retirement, Run, processed, retire, standing};
use tidemill_runtime::supervise::instance_dir;
use tidemill_schemas::ASKS_OUTSIDE;

use super::pair::Pair;
use super::running::{Passage, with_read_models};
use super::{action, diff, refuse, step};
use crate::args::{Global, ReprocessRunArgs};
use crate::command::provision::confirm;
use crate::exit::{Exit, Failure};
use crate::operations::check_reason;
use crate::output::{self, count};
use crate::session::Access;
use crate::stop::Stop;

/// Fewer than this may wait for the new pipeline when the live one is stopped: that long nothing is processed.
const LEFT_RECORDS_MAX: u64 = 1_000;
/// A new pipeline that is slower than the live one never comes closer.
const PASSES_MAX: u32 = 5;
/// Processes of the live pipeline look at the note every two seconds and stop by themselves. Those that do not are fenced.
const STOP_WAIT: Duration = Duration::from_secs(15);
const STOP_LOOK: Duration = Duration::from_millis(200);
/// Under this name this command finishes what the live pipeline has begun.
const DRAINING_INSTANCE: &str = "cutover";

pub(super) struct Wish<'a> {
    pub(super) run: &'a ReprocessRunArgs,
    pub(super) accept_missing: bool,
    pub(super) reason: &'a str,
    pub(super) yes: bool,
}

struct Cutover<'a> {
    pair: &'a Pair,
    wish: &'a Wish<'a>,
    stop: &'a Stop,
    operator: Operator,
    note: Note,
    run: Run,
}

pub(super) fn run(global: &Global, wish: &Wish<'_>) -> Result<Exit, Failure> {
    check_reason(wish.reason)?;
    let pair = Pair::open(global, wish.run.with.as_deref(), Access::Reprocess { workers: wish.run.workers })?;
    let run = pair.run()?;
    if run.phase == Phase::Removing {
        return Err(Failure::new(Exit::Refused, "reprocess_removed: the new pipeline is being taken away")
            .hint("Finish that with `tidemill reprocess abort`."));
    }
    if !wish.yes {
        confirm(&format!("Stop the live pipeline and have {} take over?", pair.colour))?;
    }
    let stop = Stop::on_signals()?;
    let mut cutover = Cutover {
        operator: pair.session.operator_of_reprocess()?,
        note: pair.session.note.clone(),
        pair: &pair,
        wish,
        stop: &stop,
        run,
    };
    if !cutover.carry_out()? {
        eprintln!("interrupted; the same command goes on from here");
        return Ok(Exit::Interrupted);
    }
    if global.json {
        output::json(&json!({"event": "result", "live": pair.colour.as_str()}))?;
    } else {
        output::line(&format!("{} is live", pair.colour))?;
        output::line("Start its workers with `tidemill run` and the topology file of the new pipeline.")?;
    }
    Ok(Exit::Ok)
}

impl Cutover<'_> {
    /// `false` if somebody said stop.
    fn carry_out(&mut self) -> Result<bool, Failure> {
        if self.run.phase == Phase::Running {
            if !self.follow()? {
                return Ok(false);
            }
            self.enter(Phase::Fencing, "fencing")?;
        }
        if self.run.phase == Phase::Fencing {
            self.fence()?;
        }
        if self.run.phase == Phase::Draining {
            if !self.drain()? {
                return Ok(false);
            }
            self.check_missing()?;
            self.enter(Phase::Flipping, "drained")?;
        }
        self.flip()?;
        Ok(true)
    }

    fn enter(&mut self, phase: Phase, said: &str) -> Result<(), Failure> {
        self.run.phase = phase;
        self.run.at_ms = self.pair.session.clock.unix_ms();
        self.note.run = Some(self.run.clone());
        let offsets = self.run.limits().offsets.values().sum();
        let action = action("cutover", &self.run, self.wish.reason, &[("offsets", offsets)]);
        Ok(step(&mut self.operator, &self.note, action, said)?)
    }

    /// Brings the new pipeline close to the live one while that still runs.
    fn follow(&mut self) -> Result<bool, Failure> {
        let (session, green) = (&self.pair.session, &self.pair.green);
        let topology = with_read_models(green)?;
        for _ in 0..PASSES_MAX {
            let limits = processed(session.broker.as_ref(), &self.pair.blue)?;
            let now = standing(session.broker.as_ref(), green, &limits, session.clock.unix_ms())?;
            if now.total - now.done + now.under_way <= LEFT_RECORDS_MAX {
                break;
            }
            let passage = Passage { limits: &limits, label: "following", ..self.green_passage(&topology, &limits) };
            if !passage.run(self.stop)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Nobody who works for the live pipeline can commit after this.
    fn fence(&mut self) -> Result<(), Failure> {
        let (session, blue) = (&self.pair.session, &self.pair.blue);
        self.wait_for_members()?;
        let retirement = Retirement { topology: blue, by: &self.pair.colour };
        let (run, reason) = (self.run.clone(), self.wish.reason);
        let fenced =
            retire(&mut self.operator, &session.succession()?, retirement, || action("fence", &run, reason, &[]))?;
        self.run.stopped_at = processed(session.broker.as_ref(), blue)?.by_topic();
        self.enter(Phase::Draining, &format!("fenced {fenced} slots"))
    }

    /// Those who run in good order stop by themselves, which leaves nothing to be fenced.
    fn wait_for_members(&self) -> Result<(), Failure> {
        let (session, blue) = (&self.pair.session, &self.pair.blue);
        let began_at = Instant::now();
        while began_at.elapsed() < STOP_WAIT {
            let is_empty = |unit: &tidemill_topology::plan::Unit| {
                let (group, tasks) = (unit.group(&blue.pipeline), unit.tasks_topic(&blue.pipeline));
                session.broker.roster(&group, &tasks).is_ok_and(|roster| roster.is_some_and(|roster| roster.is_empty()))
            };
            if blue.units.iter().all(is_empty) {
                break;
            }
            std::thread::sleep(STOP_LOOK);
        }
        Ok(())
    }

    /// Finishes what the live pipeline has taken in, then brings the new one to the same place.
    fn drain(&mut self) -> Result<bool, Failure> {
        let (session, blue) = (&self.pair.session, &self.pair.blue);
        let limits = self.run.limits();
        let live = Passage {
            session,
            topology: blue,
            limits: &limits,
            withheld: &[],
            retired: Retired::Finished,
            instance: DRAINING_INSTANCE,
            workers: self.wish.run.workers,
            label: "draining",
        };
        if !live.run(self.stop)? {
            return Ok(false);
        }
        // Its stores are of no use to anybody any more.
        if let Err(error) = std::fs::remove_dir_all(instance_dir(&blue.state_dir, DRAINING_INSTANCE)) {
            tracing::debug!(%error, "the stores of the drained pipeline stay");
        }
        eprintln!("step: the live pipeline is at rest");
        let topology = with_read_models(&self.pair.green)?;
        self.green_passage(&topology, &limits).run(self.stop)
    }

    fn green_passage<'p>(
        &'p self,
        topology: &'p std::sync::Arc<tidemill_topology::Topology>,
        limits: &'p tidemill_runtime::reprocess::Limits,
    ) -> Passage<'p> {
        Passage {
            session: &self.pair.session,
            topology,
            limits,
            withheld: ASKS_OUTSIDE,
            retired: Retired::Refused,
            instance: &self.wish.run.instance,
            workers: self.wish.run.workers,
            label: "catching up",
        }
    }

    /// A payment that the live pipeline has answered and the new one has not would be lost to its sender: dead letters that
    /// were mended on the way back are not part of the inputs.
    fn check_missing(&mut self) -> Result<(), Failure> {
        let missing = diff::missing_outcomes(self.pair)?;
        if missing.is_empty() || self.wish.accept_missing {
            return Ok(());
        }
        let sample: Vec<&str> = missing.iter().take(3).map(String::as_str).collect();
        let message = format!(
            "{} payments have an outcome in the live pipeline and none in {}, among them {}",
            count(missing.len() as u64),
            self.pair.colour,
            sample.join(", ")
        );
        let entry = action("cutover", &self.run, self.wish.reason, &[("missing", missing.len() as u64)]);
        Err(refuse(&mut self.operator, entry, "reprocess_outcomes_missing", &message)?.hint(
            "Go back with `abort`, mend the inputs and begin anew; or go on with `--accept-missing` if they are to have none.",
        ))
    }

    /// Readers see the new read models, then the new pipeline is the live one.
    fn flip(&mut self) -> Result<(), Failure> {
        let mut turned = 0;
        for plan in &self.pair.green.sinks {
            let mut sink = open_sink(plan)?;
            if let Some(read_model) = sink.read_model() {
                read_model.make_live().map_err(|error| ProvisionError::Sink { sink: plan.name.clone(), error })?;
                turned += 1;
            }
        }
        eprintln!("step: {turned} read models turned");
        let blue = &self.pair.blue.pipeline;
        let entry = action("live", &self.run, self.wish.reason, &[("read_models", turned)]);
        self.note = Note {
            live: Some(self.pair.colour.clone()),
            replaced: Some(Replaced {
                colour: blue.colour.clone(),
                config_hash: blue.config_hash.clone(),
                by_config_hash: self.pair.green.pipeline.config_hash.clone(),
                at_ms: self.pair.session.clock.unix_ms(),
            }),
            run: None,
        };
        Ok(step(&mut self.operator, &self.note, entry, "live")?)
    }
}
