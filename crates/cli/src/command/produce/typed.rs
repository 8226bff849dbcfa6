//! Lines as events of the kind that the topology gives the topic.

use std::sync::Arc;

use tidemill_core::{Framing, ReferenceTable};
use tidemill_runtime::codecs::Codecs;
use tidemill_schemas::CODECS;
use tidemill_schemas::json::{JsonError, JsonReader};
use tidemill_topology::Topology;
use tidemill_topology::plan::ReferencePlan;

use super::lines::{Line, Unusable};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// As the engine reports an entry that it cannot use; here it is said before it is published.
const REFERENCE_REFUSED: &str = "reference_refused";

pub(super) struct Typed {
    topic: Arc<str>,
    reader: JsonReader,
    codecs: Codecs,
    produced_by: String,
    /// The tables that workers build of the topic, which know what an entry must be beyond its schema.
    tables: Vec<Box<dyn ReferenceTable>>,
}

impl Typed {
    /// `None` where the senders decide the form of a value, or the topology does not say what lies in the topic.
    pub(super) fn of(session: &Session, topic: &str) -> Result<Option<Self>, Failure> {
        let topology = &session.topology;
        let kind = topology.topics.get(topic).and_then(|topic| topic.kind).filter(|_| !is_decoded(topology, topic));
        let codec = kind.and_then(|kind| CODECS.iter().find(|codec| codec.kind == kind));
        let Some(codec) = codec.filter(|codec| codec.framing == Framing::Confluent) else { return Ok(None) };
        let broken = |error| Failure::new(Exit::Findings, format!("{topic}: {error}"));
        let topic: Arc<str> = Arc::from(topic);
        let mut codecs = Codecs::new(Arc::clone(&session.registry), CODECS);
        codecs.prepare(&topic, codec.kind)?;
        let reader = JsonReader::new(codec).map_err(broken)?;
        let tables = tables(topology, &topic)?;
        Ok(Some(Self { topic, reader, codecs, produced_by: topology.pipeline.produced_by(), tables }))
    }

    /// The line with key and value of its event.
    pub(super) fn encode(&mut self, line: &Line) -> Result<Line, Unusable> {
        let read = || {
            let unusable = |JsonError { code, field, message }| Unusable { code: Some(code.code), field, message };
            self.reader.read(&line.value).map_err(unusable)
        };
        let mut event = read()?;
        if let Some(meta) = event.meta_mut() {
            meta.produced_by.clone_from(&self.produced_by);
        }
        let mut key = Vec::new();
        let key = event.key(&mut key).then_some(key);
        for table in &mut self.tables {
            table.apply(key.as_deref().unwrap_or_default(), Some(read()?)).map_err(unusable)?;
        }
        let mut value = Vec::new();
        self.codecs.encode(&self.topic, event.as_ref(), &mut value).map_err(|error| unusable(error.message))?;
        Ok(Line { key, value, timestamp_ms: line.timestamp_ms })
    }
}

/// Tables name the field first, where one is at fault: `tiers[1].rate: must be …`.
fn unusable(message: String) -> Unusable {
    let is_field = |text: &&str| !text.contains(' ');
    let (field, message) = match message.split_once(": ").filter(|(field, _)| is_field(field)) {
        Some((field, message)) => (field.to_owned(), message.to_owned()),
        None => (String::new(), message),
    };
    Unusable { code: Some(REFERENCE_REFUSED), field, message }
}

/// Whether a processor makes events of the bytes of the topic.
fn is_decoded(topology: &Topology, topic: &str) -> bool {
    let inputs = topology.units.iter().flat_map(|unit| &unit.stages).flat_map(|stage| &stage.inputs);
    let mut inputs = inputs.filter(|input| input.topic == topic);
    inputs.any(|input| input.chain.first().is_some_and(|link| link.processor.decodes.is_some()))
}

fn tables(topology: &Topology, topic: &str) -> Result<Vec<Box<dyn ReferenceTable>>, Failure> {
    let plans = topology.units.iter().flat_map(|unit| &unit.stages).flat_map(|stage| &stage.references);
    let build = |plan: &ReferencePlan| {
        let built = (plan.spec.build)(&plan.settings);
        built.map_err(|errors| Failure::new(Exit::Config, format!("{}: {errors:?}", plan.spec.name)))
    };
    plans.filter(|plan| plan.topic == topic).map(build).collect()
}
