//! Kinds of events along chains and across topics.
//!
//! The kind in a topic is what its writers pass on; ports say so outright, outputs follow from their chains. A topic that
//! nothing in the pipeline writes holds what is declared for it, or raw bytes where its readers decode, or the one kind
//! that its reader takes.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_core::{EventKind, ProcessorSpec, RawEvent};

use crate::codes;
use crate::findings::{Findings, Step, place};

use super::stages::did_you_mean;
use super::{StageView, View};

/// What lies in the topics that stages read or write.
pub(super) struct Kinds<'v> {
    pub(super) by_topic: BTreeMap<&'v str, EventKind>,
    /// Topics that the pipeline's stages write.
    pub(super) written: BTreeSet<&'v str>,
}

pub(super) fn infer<'v>(view: &View<'v>, findings: &mut Findings) -> Kinds<'v> {
    let declared = declared(view, findings);
    let written: BTreeSet<&str> = written(view).collect();
    let mut by_topic = declared.clone();
    for stage in &view.stages {
        for input in 0..stage.raw.input.len() {
            for (topic, kind) in stage.port_topics(input) {
                by_topic.entry(topic).or_insert(kind);
            }
        }
    }
    while let Some((topic, kind)) = next_known(view, &written, &by_topic) {
        by_topic.insert(topic, kind);
    }
    let kinds = Kinds { by_topic, written };
    for stage in &view.stages {
        for input in 0..stage.raw.input.len() {
            check_input(view, stage, input, &kinds, findings);
        }
    }
    check_declared(view, &declared, &kinds, findings);
    check_writers(view, &kinds, findings);
    kinds
}

/// How a chain ends.
enum End {
    /// Somewhere in it is a processor that does not exist.
    Unknown,
    Keeps,
    PassesOn(EventKind),
    /// The processor at this place does not take what it is given.
    Refuses {
        link: usize,
        given: EventKind,
    },
    /// The processor before this place passes nothing on.
    Continues {
        link: usize,
    },
}

fn end_of(head: EventKind, chain: &[Option<&'static ProcessorSpec>]) -> End {
    let mut given = Some(head);
    for (link, processor) in chain.iter().enumerate() {
        let Some(kind) = given else { return End::Continues { link } };
        let Some(processor) = processor else { return End::Unknown };
        match processor.signatures.iter().find(|signature| signature.takes == kind) {
            Some(signature) => given = signature.gives,
            None => return End::Refuses { link, given: kind },
        }
    }
    given.map_or(End::Keeps, End::PassesOn)
}

/// One more topic whose kind can be told, if there is one.
fn next_known<'v>(
    view: &View<'v>,
    written: &BTreeSet<&'v str>,
    by_topic: &BTreeMap<&'v str, EventKind>,
) -> Option<(&'v str, EventKind)> {
    view.stages.iter().find_map(|stage| {
        stage.raw.input.iter().zip(&stage.chains).find_map(|(input, chain)| {
            let topic = input.topic.as_str();
            let Some(head) = by_topic.get(topic) else {
                let kind = chain.first().copied().flatten().filter(|_| !written.contains(topic)).and_then(sole_kind)?;
                return Some((topic, kind));
            };
            let output = input.output.as_deref().filter(|output| !by_topic.contains_key(output))?;
            match end_of(*head, chain) {
                End::PassesOn(kind) => Some((output, kind)),
                _ => None,
            }
        })
    })
}

/// What a topic must hold for `reader` to be its first processor.
fn sole_kind(reader: &'static ProcessorSpec) -> Option<EventKind> {
    let takes: Vec<EventKind> = reader.signatures.iter().map(|signature| signature.takes).collect();
    match takes[..] {
        _ if takes.contains(&RawEvent::KIND) => Some(RawEvent::KIND),
        [only] => Some(only),
        _ => None,
    }
}

fn written<'v>(view: &View<'v>) -> impl Iterator<Item = &'v str> {
    view.stages.iter().flat_map(|stage| {
        let outputs = stage.raw.input.iter().filter_map(|input| input.output.as_deref());
        let ports = (0..stage.raw.input.len()).flat_map(|input| stage.port_topics(input)).map(|(topic, _)| topic);
        outputs.chain(ports).collect::<Vec<_>>()
    })
}

fn declared<'v>(view: &View<'v>, findings: &mut Findings) -> BTreeMap<&'v str, EventKind> {
    let mut declared = BTreeMap::new();
    for (topic, config) in &view.raw.topics {
        let Some(name) = config.kind.as_deref() else { continue };
        match view.catalog.codecs.iter().find(|codec| codec.kind.name == name) {
            Some(codec) => {
                declared.insert(topic.as_str(), codec.kind);
            }
            None => {
                let hint = did_you_mean(name, view.catalog.codecs.iter().map(|codec| codec.kind.name));
                let message = format!("there is no event of kind `{name}`");
                findings.add_with_hint(place!["topics", topic, "kind"], &codes::KIND_UNKNOWN, message, hint);
            }
        }
    }
    declared
}

fn check_input(view: &View<'_>, stage: &StageView<'_>, index: usize, kinds: &Kinds<'_>, findings: &mut Findings) {
    let (input, chain) = (&stage.raw.input[index], &stage.chains[index]);
    if input.topic.is_empty() || chain.is_empty() {
        return;
    }
    let at: &[Step<'_>] = place!["stage", stage.index, "input", index];
    let Some(head) = kinds.by_topic.get(input.topic.as_str()) else {
        if !kinds.written.contains(input.topic.as_str()) && chain.iter().all(Option::is_some) {
            let message = format!("what lies in `{}` cannot be told from its reader", input.topic);
            let hint = chain.first().copied().flatten().map(|reader| {
                let kinds: Vec<_> = reader.signatures.iter().map(|one| format!("`{:?}`", one.takes)).collect();
                format!("Say it: `kind = …` under [topics.\"{}\"], one of {}.", input.topic, kinds.join(", "))
            });
            findings.add_with_hint(&[at, place!["topic"]].concat(), &codes::KIND_UNKNOWN_HEAD, message, hint);
        }
        return;
    };
    check_is_written(view, stage, index, *head, kinds, findings);
    match (end_of(*head, chain), &input.output) {
        (End::Unknown, _) => {}
        (End::Keeps, None) => check_effect(stage, index, findings),
        (End::Refuses { link, given }, _) => {
            let reader = &input.chain[link];
            let giver = match link.checked_sub(1) {
                Some(before) => format!("`{}` passes on", input.chain[before]),
                None => format!("`{}` holds", input.topic),
            };
            let takes = chain[link].into_iter().flat_map(|processor| processor.signatures);
            let takes: Vec<_> = takes.map(|signature| format!("{:?}", signature.takes)).collect();
            let message = format!("{giver} {given:?}, but `{reader}` takes {}", takes.join(" or "));
            let hint = bridge(view, given, &takes);
            findings.add_with_hint(&[at, place!["chain", link]].concat(), &codes::KIND_MISMATCH, message, hint);
        }
        (End::Continues { link }, _) => {
            let message = format!("`{}` passes nothing on to `{}`", input.chain[link - 1], input.chain[link]);
            findings.add(&[at, place!["chain", link]].concat(), &codes::CHAIN_CONTINUES, message);
        }
        (End::Keeps, Some(output)) => {
            let message = format!("nothing would ever be written to `{output}`");
            findings.add(&[at, place!["output"]].concat(), &codes::OUTPUT_EMPTY, message);
        }
        (End::PassesOn(kind), None) => {
            let message = format!("the chain passes on {kind:?} events to nowhere");
            findings.add(at, &codes::OUTPUT_MISSING, message);
        }
        (End::PassesOn(kind), Some(_)) if view.catalog.codecs.iter().all(|codec| codec.kind != kind) => {
            let message = format!("{kind:?} events only exist in memory");
            findings.add(&[at, place!["output"]].concat(), &codes::OUTPUT_NO_SCHEMA, message);
        }
        (End::PassesOn(_), Some(_)) => {}
    }
}

fn check_effect(stage: &StageView<'_>, index: usize, findings: &mut Findings) {
    let has_effect = |processor: &ProcessorSpec| !processor.ports.is_empty() || !processor.stores.is_empty();
    if !stage.chains[index].iter().flatten().any(|processor| has_effect(processor)) {
        let message = format!("reading `{}` has no effect", stage.raw.input[index].topic);
        findings.add(place!["stage", stage.index, "input", index], &codes::NO_EFFECT, message);
    }
}

/// The processor that makes what is wanted from what is given.
fn bridge(view: &View<'_>, given: EventKind, wanted: &[String]) -> Option<String> {
    let makes = |processor: &&&'static ProcessorSpec| {
        processor.signatures.iter().any(|signature| {
            signature.takes == given
                && signature.gives.is_some_and(|gives| wanted.iter().any(|want| want == gives.name))
        })
    };
    let found = view.catalog.processors.iter().find(makes)?;
    Some(format!("`{}` makes the one from the other; put it between.", found.name))
}

/// A typed topic that nobody writes is upstream's, or a slip of the pen.
fn check_is_written(
    view: &View<'_>,
    stage: &StageView<'_>,
    index: usize,
    head: EventKind,
    kinds: &Kinds<'_>,
    findings: &mut Findings,
) {
    let topic = stage.raw.input[index].topic.as_str();
    let is_declared = view.raw.topics.get(topic).is_some_and(|config| config.kind.is_some());
    if head == RawEvent::KIND || is_declared || kinds.written.contains(topic) {
        return;
    }
    let hint = did_you_mean(topic, kinds.written.iter().copied());
    let message = format!("nothing in the pipeline writes `{topic}`");
    let at = place!["stage", stage.index, "input", index, "topic"];
    findings.add_with_hint(at, &codes::NEVER_WRITTEN, message, hint);
}

fn check_declared(view: &View<'_>, declared: &BTreeMap<&str, EventKind>, kinds: &Kinds<'_>, findings: &mut Findings) {
    for (topic, declared) in declared {
        let writers = writers(view, kinds);
        if let Some(writer) = writers.iter().find(|writer| writer.topic == *topic && writer.kind != *declared) {
            let message =
                format!("`{topic}` is declared as {declared:?}, but {} writes {:?}", writer.what, writer.kind);
            findings.add(place!["topics", *topic, "kind"], &codes::KIND_CONTRADICTED, message);
        }
    }
}

struct Writer<'v> {
    topic: &'v str,
    kind: EventKind,
    what: String,
    path: Vec<Step<'v>>,
}

fn writers<'v>(view: &View<'v>, kinds: &Kinds<'_>) -> Vec<Writer<'v>> {
    let mut writers = Vec::new();
    for stage in &view.stages {
        let raw = stage.raw;
        for (index, input) in raw.input.iter().enumerate() {
            let head = kinds.by_topic.get(input.topic.as_str());
            let end = head.map(|head| end_of(*head, &stage.chains[index]));
            if let (Some(topic), Some(End::PassesOn(kind))) = (input.output.as_deref(), end) {
                let path = place!["stage", stage.index, "input", index, "output"].to_vec();
                let what = format!("the chain for `{}` in stage `{}`", input.topic, raw.name);
                writers.push(Writer { topic, kind, what, path });
            }
        }
        let ports = stage.processors.iter().flat_map(|processor| processor.ports);
        for port in ports {
            if let Some(topic) = raw.ports.get(port.name) {
                let path = place!["stage", stage.index, "ports", port.name].to_vec();
                let what = format!("port `{}` of stage `{}`", port.name, raw.name);
                writers.push(Writer { topic, kind: port.kind, what, path });
            }
        }
    }
    writers
}

fn check_writers(view: &View<'_>, kinds: &Kinds<'_>, findings: &mut Findings) {
    let writers = writers(view, kinds);
    let mut first: BTreeMap<&str, &Writer<'_>> = BTreeMap::new();
    for writer in &writers {
        let first = *first.entry(writer.topic).or_insert(writer);
        if first.kind != writer.kind && first.what != writer.what {
            let message = format!(
                "{} writes {:?} to `{}`, but {} writes {:?}",
                writer.what, writer.kind, writer.topic, first.what, first.kind
            );
            findings.add(&writer.path, &codes::WRITERS_DISAGREE, message);
        }
    }
}
