//! Text to plan: parse, fill in, check the shape, check the meaning, infer the topics. Every step goes on after findings
//! as far as it can, so that one run shows them all.

mod broker;
mod cycles;
mod hash;
mod keys;
mod names;
mod sinks;
mod stages;
mod topics;
mod types;
mod units;

use serde::Deserialize;
use tidemill_core::{Diagnostic, EventCodec, EventKind, ProcessorSpec, SinkSpec};

use crate::codes;
use crate::document::{self, Place};
use crate::findings::Findings;
use crate::interpolate::{self, Foreign};
use crate::plan::{HeaderStyle, Pipeline, Topology};
use crate::raw::{Raw, RawHeaderStyle, RawStage};
use crate::{BrokerChoice, Options, schema, shape};

/// What a topology can be built from.
#[derive(Clone, Copy, Debug)]
pub struct Catalog<'a> {
    pub processors: &'a [&'static ProcessorSpec],
    pub codecs: &'a [EventCodec],
    pub sinks: &'a [&'static SinkSpec],
}

/// A topology that can run, and the findings that do not hinder it.
pub type Compiled = (Topology, Vec<Diagnostic>);

/// Compiles the text of the topology file `file`. `Err` holds all findings, warnings among them.
pub fn compile(
    file: &str,
    text: &str,
    catalog: &Catalog<'_>,
    options: &Options<'_>,
) -> Result<Compiled, Vec<Diagnostic>> {
    let mut root = document::parse(file, text)?;
    let mut findings = Findings::new(file);
    for (path, value) in &options.overrides {
        document::apply_override(&mut root, path, value, &mut findings);
    }
    if let Some(broker) = options.broker {
        document::apply_override(&mut root, "broker.kind", broker.name(), &mut findings);
    }
    let foreign = interpolate::resolve(&mut root, options, &mut findings);
    let shaped = shape::check(&root, &schema::json_schema(), &mut findings);
    findings.place_in(root);
    let raw = match Raw::deserialize(shaped.clone()) {
        Ok(raw) => raw,
        Err(error) => {
            findings.at(Place::start_of(file), &codes::WRONG_TYPE, error.message(), None);
            return Err(findings.finish());
        }
    };
    let config_hash = hash::of(&shaped, &findings);
    let topology = build(&raw, config_hash, catalog, &foreign, &mut findings);
    match topology {
        Some(topology) if !findings.is_fatal() => Ok((topology, findings.finish())),
        _ => Err(findings.finish()),
    }
}

/// What the checks share.
struct View<'v> {
    raw: &'v Raw,
    catalog: &'v Catalog<'v>,
    foreign: &'v Foreign,
    stages: Vec<StageView<'v>>,
}

/// A stage with its names looked up.
struct StageView<'v> {
    index: usize,
    raw: &'v RawStage,
    /// Index of the unit; `None` when there is none of that name.
    unit: Option<usize>,
    /// The chain of every input; `None` for a processor that does not exist.
    chains: Vec<Vec<Option<&'static ProcessorSpec>>>,
    /// Every processor once, in order of appearance.
    processors: Vec<&'static ProcessorSpec>,
}

impl<'v> StageView<'v> {
    /// Topics that an input's chain writes to by ports, with what is written.
    fn port_topics(&self, input: usize) -> impl Iterator<Item = (&'v str, EventKind)> {
        let ports = &self.raw.ports;
        let chain = self.chains.get(input).into_iter().flatten();
        chain
            .filter_map(|link| *link)
            .flat_map(|processor| processor.ports)
            .filter_map(|port| ports.get(port.name).map(|topic| (topic.as_str(), port.kind)))
    }
}

fn build(
    raw: &Raw,
    config_hash: String,
    catalog: &Catalog<'_>,
    foreign: &Foreign,
    findings: &mut Findings,
) -> Option<Topology> {
    names::check(raw, findings);
    let view = View { raw, catalog, foreign, stages: stages::view(raw, catalog, findings) };
    let broker = broker::plan(raw, findings);
    units::check(&view, findings);
    stages::check(&view, findings);
    let kinds = types::infer(&view, findings);
    keys::check(&view, &kinds, findings);
    cycles::check(&view, findings);
    let choice = BrokerChoice::parse(&raw.broker.kind)?;
    let reads = sinks::reads(&view, &kinds, findings);
    let topics = topics::plan(&view, &kinds, &reads, findings);
    let sinks = sinks::plan(&view, choice, &reads, &topics, findings);
    if findings.is_fatal() {
        return None;
    }
    let pipeline = Pipeline {
        name: raw.pipeline.name.clone(),
        version: raw.pipeline.version.clone(),
        config_hash,
        audit_topic: raw.pipeline.audit_topic.clone(),
        colour: None,
    };
    let units = units::plan(&view);
    let topics = topics::with_internal(topics, &pipeline, &units, &sinks);
    Some(Topology {
        pipeline,
        broker: broker?,
        registry_url: raw
            .registry
            .as_ref()
            .filter(|_| choice == BrokerChoice::Kafka)
            .map(|registry| registry.url.clone()),
        state_dir: (&raw.pipeline.state_dir).into(),
        http_address: raw.pipeline.http_address.clone(),
        memory_mib_max: raw.pipeline.memory_mib_max,
        units,
        topics,
        sinks,
        dead_letter_headers: raw.dead_letters.compatible_headers.iter().map(header_style).collect(),
    })
}

fn header_style(style: &RawHeaderStyle) -> HeaderStyle {
    match style {
        RawHeaderStyle::Connect => HeaderStyle::Connect,
        RawHeaderStyle::Spring => HeaderStyle::Spring,
    }
}
