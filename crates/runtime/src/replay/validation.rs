//! What would become of a dead letter today: the chain of its stage, with today's code, settings, schemas and reference
//! tables, on a state in which nothing has happened yet.
//!
//! So it says whether the letter would be processed, and not what would come of that: whether there are funds for it is for
//! the state of that moment to say.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidemill_core::chain::{self, Ended, Surroundings};
use tidemill_core::{Effects, EventCodec, Outcome};
use tidemill_topology::Topology;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::codecs::Codecs;
use crate::registry::SchemaRegistry;
use crate::replay::plan::{Destination, Item, LoopGuard, Verdict, refusal};
use crate::replay::{Edit, Letter};
use crate::store::StoreFactory;
use crate::store::memory::MemoryStores;
use crate::store::write_behind::{Background, WriteBehind};
use crate::task::state::TaskState;
use crate::threads::SystemThreads;
use crate::worker::WorkerError;
use crate::worker::process::decode;
use crate::worker::program::{Head, Program};
use crate::worker::references::load;

const STORE_BYTES_MAX: usize = 16 << 20;

pub struct Validator {
    topology: Arc<Topology>,
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    codecs: Codecs,
    /// By name of the unit, built when it is needed.
    programs: BTreeMap<String, (Program, TaskState)>,
    effects: Effects,
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Validator({})", self.topology.pipeline.name)
    }
}

impl Validator {
    pub fn new(
        topology: Arc<Topology>,
        broker: Arc<dyn Broker>,
        registry: Arc<dyn SchemaRegistry>,
        clock: Arc<dyn Clock>,
        codecs: &'static [EventCodec],
    ) -> Self {
        let codecs = Codecs::new(registry, codecs);
        Self { topology, broker, clock, codecs, programs: BTreeMap::new(), effects: Effects::default() }
    }

    /// What would become of the letter, with `edit` instead of its value if there is one.
    pub fn judge(
        &mut self,
        letter: &Letter,
        destination: &Destination,
        loops: LoopGuard,
        edit: Option<Edit>,
    ) -> Result<Item, WorkerError> {
        let verdict = match refusal(&self.topology, letter, destination, loops) {
            Some(refusal) => Verdict::Guarded(refusal),
            None if matches!(destination, Destination::Sandbox(_)) => Verdict::Passes,
            None => {
                let edited = edit.as_ref().map(Edit::value);
                self.run(letter, edited.as_deref().or(letter.value.as_deref()))?
            }
        };
        Ok(Item { edit, ..Item::of(letter, verdict) })
    }

    fn run(&mut self, letter: &Letter, value: Option<&[u8]>) -> Result<Verdict, WorkerError> {
        let input_topic = letter.input().to_owned();
        let unit = self.topology.reader_of(&input_topic).map(|(unit, _, _)| unit.name.clone()).unwrap_or_default();
        if !self.programs.contains_key(&unit) {
            let built = self.build(&unit)?;
            self.programs.insert(unit.clone(), built);
        }
        let Some((program, state)) = self.programs.get_mut(&unit) else {
            return Err(WorkerError::Broken(format!("there is no unit {unit}")));
        };
        let number = program.input_named(&input_topic);
        let Some(input) = number.and_then(|number| program.inputs.get(number)) else {
            return Err(WorkerError::Broken(format!("no stage reads {input_topic}")));
        };
        let Self { codecs, effects, .. } = self;
        let verdict = letter.with_record(value, |record| {
            let event = match decode(codecs, input, record)? {
                Ok(event) => event,
                Err(reject) => return Ok(fails(&reject)),
            };
            let decodes = match input.head {
                Head::Raw { decodes } => decodes,
                Head::Event(_) => None,
            };
            let schemas = codecs.for_kind(decodes);
            let references = &program.references;
            let around = Surroundings { task: record.origin.partition, references, schemas: &schemas };
            Ok(match chain::run(&input.processors, event, *record, state, effects, around)? {
                Ended::Passed(_) | Ended::Answered(_) => Verdict::Passes,
                Ended::Done(Outcome::Dead(code)) => Verdict::Fails { code: code.to_owned(), field: None },
                Ended::Done(_) => Verdict::Passes,
                Ended::Unanswered(reject) => fails(&reject),
            })
        });
        state.discard();
        let _not_performed = effects.drain().count();
        verdict
    }

    fn build(&mut self, unit: &str) -> Result<(Program, TaskState), WorkerError> {
        let found = self.topology.units.iter().find(|candidate| candidate.name == unit);
        let unit = found.ok_or_else(|| WorkerError::Broken(format!("there is no unit {unit}")))?;
        let mut program = Program::build(&self.topology, unit, None).map_err(WorkerError::Broken)?;
        load(self.broker.as_ref(), &self.topology, &mut program.references, &mut self.codecs, |_, _| Ok(()))?;
        let store = MemoryStores::default().open(Path::new("validation"), "validation")?;
        let background = Background { threads: Arc::new(SystemThreads), clock: Arc::clone(&self.clock) };
        Ok((program, TaskState::new(WriteBehind::new(store, STORE_BYTES_MAX, background))))
    }
}

fn fails(reject: &tidemill_core::Reject) -> Verdict {
    Verdict::Fails { code: reject.code().code.to_owned(), field: reject.field().map(ToOwned::to_owned) }
}
