//! Runs a pipeline that is not live, up to a limit and no further.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_core::{EventKind, Sink};
use tidemill_runtime::provision::open_sink;
use tidemill_runtime::reprocess::{Limits, Rehearsal, Retired, Standing, sinks_left, standing};
use tidemill_runtime::supervise::{self, RunOptions, RunSinks};
use tidemill_runtime::worker::OnStop;
use tidemill_topology::Topology;

use crate::exit::{Exit, Failure};
use crate::output::Progress;
use crate::session::Session;
use crate::stop::Stop;

const TICK: Duration = Duration::from_millis(100);
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// A pipeline and how it is run.
pub(super) struct Passage<'a> {
    pub(super) session: &'a Session,
    pub(super) topology: &'a Arc<Topology>,
    pub(super) limits: &'a Limits,
    pub(super) withheld: &'static [EventKind],
    pub(super) retired: Retired,
    pub(super) instance: &'a str,
    pub(super) workers: u32,
    pub(super) label: &'static str,
}

impl Passage<'_> {
    /// Returns once everything up to the limits has come to its end, in the read models, too. `false` if somebody said stop.
    pub(super) fn run(&self, stop: &Stop) -> Result<bool, Failure> {
        let rehearsal = Rehearsal { limits: self.limits.clone(), withheld: self.withheld, retired: self.retired };
        let shared = self.session.shared_of(self.topology, self.instance, Some(rehearsal))?;
        let options = RunOptions {
            instance: self.instance.to_owned(),
            workers: self.workers,
            units: Vec::new(),
            sinks: RunSinks::All,
            on_stop: OnStop::Leave,
        };
        let running = supervise::start(&shared, &options).map_err(|error| Failure::new(Exit::Findings, error))?;
        let watched = self.watch(&running, stop);
        let joined = running.join().map_err(|error| Failure::new(Exit::Findings, error));
        let is_done = watched?;
        joined?;
        Ok(is_done)
    }

    fn watch(&self, running: &supervise::Running, stop: &Stop) -> Result<bool, Failure> {
        let mut progress = Progress::new(self.label, 0);
        let mut looked_at = Instant::now();
        let mut before: Option<Standing> = None;
        let is_done = loop {
            if stop.is_set() {
                break false;
            }
            if let Some(ended) = running.wait(TICK) {
                ended.map_err(|error| Failure::new(Exit::Findings, error))?;
            }
            if looked_at.elapsed() < LOOK_INTERVAL {
                continue;
            }
            looked_at = Instant::now();
            let now = self.standing()?;
            progress.set_of(now.done, now.total);
            let is_still = before.as_ref() == Some(&now) && now.is_done() && !running.health.is_releasing();
            if is_still && sinks_left(self.session.broker.as_ref(), self.topology)? == 0 {
                break true;
            }
            before = Some(now);
        };
        progress.finish();
        Ok(is_done)
    }

    pub(super) fn standing(&self) -> Result<Standing, Failure> {
        let session = self.session;
        Ok(standing(session.broker.as_ref(), self.topology, self.limits, session.clock.unix_ms())?)
    }
}

/// The topology with those sinks alone that keep a read model: the others reach somebody outside.
pub(super) fn with_read_models(topology: &Arc<Topology>) -> Result<Arc<Topology>, Failure> {
    let mut kept = topology.as_ref().clone();
    kept.sinks.clear();
    for plan in &topology.sinks {
        let mut sink: Box<dyn Sink> = open_sink(plan)?;
        if sink.read_model().is_some() {
            kept.sinks.push(plan.clone());
        }
    }
    Ok(Arc::new(kept))
}
