//! The processors of the repository's topology, one after another, each for all records before the next begins: so
//! nothing but one step lies between two counts. Between two topics records are encoded and decoded, as in the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use tempfile::TempDir;
use tidemill_core::chain::{self, Ended, Surroundings};
use tidemill_core::reference::References;
use tidemill_core::{
    AnyEvent, Effects, EventKind, EventTime, Headers, Origin, Outcome, Processor, RawEvent, RecordView, ReferenceTable,
};
use tidemill_processors::PROCESSORS;
use tidemill_runtime::codecs::{Codecs, subject_of};
use tidemill_runtime::registry::{LocalRegistry, SchemaRegistry};
use tidemill_runtime::task::state::TaskState;
use tidemill_schemas::CODECS;
use tidemill_topology::plan::{Input, Stage};
use tidemill_topology::{BrokerChoice, Catalog, Options, Topology, compile};

use crate::requests::{self, Request};
use crate::stores::{self, CHECKPOINT};
use crate::{Result, count, repository};

/// In the order in which records pass them.
const TOPICS: [&str; 6] = [
    "accounts.requested.v1",
    "payments.requested.v1",
    "payments.validated.v1",
    "payments.screened.v1",
    "ledger.instructions.v1",
    "payments.status.v1",
];

/// Sinks are no part of this, and their clients would be most of the build.
const CATALOG: Catalog<'static> = Catalog { processors: PROCESSORS, codecs: CODECS, sinks: &[] };

struct Pipeline {
    topology: Topology,
    references: Tables,
    codecs: Codecs,
    state: TaskState,
    /// By topic.
    waiting: BTreeMap<Arc<str>, Vec<Request>>,
    next_offset: u64,
    _folder: TempDir,
}

/// A record on its way through a chain.
struct Passing {
    record: Request,
    event: AnyEvent,
}

/// Events by the topic that they are written to.
type Written = BTreeMap<Arc<str>, Vec<AnyEvent>>;

#[derive(Default)]
struct Tables(BTreeMap<&'static str, Box<dyn ReferenceTable>>);

impl References for Tables {
    fn get(&self, name: &'static str) -> Option<&dyn ReferenceTable> {
        self.0.get(name).map(Box::as_ref)
    }
}

pub(crate) fn run() -> Result<()> {
    let mut pipeline = Pipeline::new()?;
    pipeline.waiting.insert(TOPICS[0].into(), requests::accounts());
    pipeline.waiting.insert(TOPICS[1].into(), requests::payments());
    for topic in TOPICS {
        pipeline.pass(topic)?;
    }
    Ok(())
}

impl Pipeline {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let topology = topology()?;
        let registry = Arc::new(LocalRegistry::open(folder.path())?);
        let mut codecs = Codecs::new(Arc::clone(&registry) as Arc<dyn SchemaRegistry>, CODECS);
        for topic in topology.topics.values() {
            let Some(codec) = CODECS.iter().find(|codec| Some(codec.kind) == topic.kind) else { continue };
            registry.register(&subject_of(&topic.name), codec.schema)?;
            codecs.prepare(&topic.name.as_str().into(), codec.kind)?;
        }
        let mut references = Tables::default();
        for plan in topology.units.iter().flat_map(|unit| &unit.stages).flat_map(|stage| &stage.references) {
            let table = (plan.spec.build)(&plan.settings);
            references.0.insert(plan.spec.name, table.map_err(|errors| format!("{:?}: {errors:?}", plan.spec))?);
        }
        let state = stores::open(&folder.path().join("state"))?;
        Ok(Self { topology, references, codecs, state, waiting: BTreeMap::new(), next_offset: 0, _folder: folder })
    }

    /// Takes all records of a topic through its chain.
    fn pass(&mut self, topic: &str) -> Result<()> {
        let (stage, input) = find(&self.topology, topic)?;
        let (ports, output) = (stage.ports.clone(), input.output.clone());
        let chain: Vec<(&str, Box<dyn Processor>)> = build(input)?;
        let records = self.waiting.remove(topic).unwrap_or_default();
        let mut passing = self.decode(topic, records)?;
        let mut written = Written::new();
        for (name, processor) in chain {
            let processor = [processor];
            let records = passing.len();
            let mut emitted = Vec::with_capacity(records * 4);
            passing = count::step(&format!("{topic}/{name}"), records, || {
                self.process(topic, &processor, passing, &mut emitted)
            })?;
            for (port, event) in emitted {
                let topic = ports.get(port).ok_or_else(|| format!("port {port} leads nowhere"))?;
                written.entry(topic.as_str().into()).or_default().push(event);
            }
        }
        if let Some(output) = output {
            written.insert(output.as_str().into(), passing.into_iter().map(|passing| passing.event).collect());
        }
        self.next_offset += 1;
        self.state.apply(CHECKPOINT, self.next_offset)?;
        written.into_iter().try_for_each(|(written_to, events)| self.encode(topic, &written_to, &events))
    }

    fn process(
        &mut self,
        topic: &str,
        processor: &[Box<dyn Processor>],
        passing: Vec<Passing>,
        emitted: &mut Vec<(&'static str, AnyEvent)>,
    ) -> Result<Vec<Passing>> {
        let mut passed = Vec::with_capacity(passing.len());
        let mut effects = Effects::default();
        for (Passing { record, event }, offset) in passing.into_iter().zip(0..) {
            let view = RecordView {
                origin: Origin { topic, partition: 0, offset },
                event_time: EventTime::from_millis(record.timestamp_ms),
                key: Some(&record.key),
                value: Some(&record.value),
                headers: Headers::default(),
            };
            let schemas = self.codecs.for_kind(None);
            let around = Surroundings { task: 0, references: &self.references, schemas: &schemas };
            match chain::run(processor, event, view, &mut self.state, &mut effects, around)? {
                Ended::Passed(event) => passed.push(Passing { record, event }),
                Ended::Done(Outcome::Posted | Outcome::Applied) => {}
                other => return Err(format!("a record of {topic} ended otherwise than it should: {other:?}").into()),
            }
            emitted.extend(effects.drain().map(|effect| (effect.port, effect.event)));
        }
        Ok(passed)
    }

    fn decode(&mut self, topic: &str, records: Vec<Request>) -> Result<Vec<Passing>> {
        let Some(kind) = self.kind(topic) else {
            return Ok(records.into_iter().map(|record| Passing { record, event: Box::new(RawEvent) }).collect());
        };
        count::step(&format!("{topic}/decode"), records.len(), || {
            let mut passing = Vec::with_capacity(records.len());
            for record in records {
                let event = self.codecs.decode(kind, &record.value);
                passing.push(Passing { event: event.map_err(|error| format!("{topic}: {error:?}"))?, record });
            }
            Ok(passing)
        })
    }

    /// Encodes what the records of `topic` have written. Several topics write statuses, so the step is named by both.
    fn encode(&mut self, topic: &str, written_to: &Arc<str>, events: &[AnyEvent]) -> Result<()> {
        let mut values = Vec::with_capacity(events.len());
        let (mut key, mut value) = (Vec::new(), Vec::new());
        count::step(&format!("{topic}/encode:{written_to}"), events.len(), || {
            for event in events {
                key.clear();
                value.clear();
                event.key(&mut key);
                self.codecs.encode(written_to, event.as_ref(), &mut value)?;
                values.push(Request {
                    key: key.clone(),
                    value: value.clone(),
                    timestamp_ms: event.event_time().millis(),
                });
            }
            Ok(())
        })?;
        self.waiting.entry(Arc::clone(written_to)).or_default().extend(values);
        Ok(())
    }

    /// `None` where the first processor of the chain decodes.
    fn kind(&self, topic: &str) -> Option<EventKind> {
        self.topology.topics.get(topic)?.kind
    }
}

fn build(input: &Input) -> Result<Vec<(&'static str, Box<dyn Processor>)>> {
    let build = |link: &tidemill_topology::plan::Link| {
        let built = (link.processor.build)(&link.settings);
        Ok((link.processor.name, built.map_err(|errors| format!("{}: {errors:?}", link.processor.name))?))
    };
    input.chain.iter().map(build).collect()
}

fn find<'a>(topology: &'a Topology, topic: &str) -> Result<(&'a Stage, &'a Input)> {
    let stages = topology.units.iter().flat_map(|unit| &unit.stages);
    let mut inputs = stages.flat_map(|stage| stage.inputs.iter().map(move |input| (stage, input)));
    inputs.find(|(_, input)| input.topic == topic).ok_or_else(|| format!("no stage reads {topic}").into())
}

fn topology() -> Result<Topology> {
    let text = std::fs::read_to_string(repository().join("topology.toml"))?;
    let mut document: toml::Table = text.parse()?;
    document.remove("sink");
    let options = Options { broker: Some(BrokerChoice::Embedded), ..Options::default() };
    let compiled = compile("topology.toml", &document.to_string(), &CATALOG, &options);
    Ok(compiled.map_err(|findings| format!("the topology: {findings:?}"))?.0)
}
