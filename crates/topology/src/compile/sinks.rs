//! Sinks: their kind, their settings, and the topics they read.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_core::{EventKind, Settings, SinkSpec};

use crate::BrokerChoice;
use crate::codes;
use crate::findings::{Findings, place};
use crate::plan::{Role, SinkPlan, Topic};
use crate::raw::{RawBrokerKind, RawSink};

use super::View;
use super::stages::{did_you_mean, report_settings};
use super::types::Kinds;

const DEAD_LETTER_SUFFIX: &str = ".dlq";

/// Which topics the sinks read, whether they are active or not: the role of a topic does not depend on the broker.
pub(super) struct Reads<'v> {
    /// By sink: topics of events.
    by_sink: Vec<BTreeSet<&'v str>>,
}

impl Reads<'_> {
    pub(super) fn is_read(&self, topic: &str) -> bool {
        self.by_sink.iter().any(|topics| topics.contains(topic))
    }
}

pub(super) fn reads<'v>(view: &View<'v>, kinds: &Kinds<'v>, findings: &mut Findings) -> Reads<'v> {
    let known = all_topics(view, kinds);
    let sinks = view.raw.sink.iter().enumerate();
    Reads { by_sink: sinks.map(|(index, sink)| reads_of(view, index, sink, &known, findings)).collect() }
}

pub(super) fn plan(
    view: &View<'_>,
    broker: BrokerChoice,
    reads: &Reads<'_>,
    topics: &BTreeMap<String, Topic>,
    findings: &mut Findings,
) -> Vec<SinkPlan> {
    let mut sinks = Vec::new();
    for (index, (sink, events)) in view.raw.sink.iter().zip(&reads.by_sink).enumerate() {
        let Some(spec) = find(view, &sink.kind) else { continue };
        let settings = Settings(sink.settings.clone());
        check_settings(view, index, spec, &settings, findings);
        let dead_letters = dead_letters(index, sink, topics, findings);
        // What became of dead letters is read wherever they are.
        let replays = (!dead_letters.is_empty()).then(|| format!("{}.replays", view.raw.pipeline.name));
        let audit = sink.topics.iter().find(|topic| **topic == view.raw.pipeline.audit_topic).cloned();
        let events = events.iter().map(|topic| (*topic).to_owned());
        let read: Vec<String> = events.chain(dead_letters).chain(replays).chain(audit).collect();
        let tasks = read.iter().filter_map(|topic| topics.get(topic)).map(|topic| topic.partitions).max();
        if is_active(sink, broker) {
            sinks.push(SinkPlan { name: sink.name.clone(), spec, settings, topics: read, tasks: tasks.unwrap_or(1) });
        }
    }
    sinks
}

fn is_active(sink: &RawSink, broker: BrokerChoice) -> bool {
    match sink.broker {
        None => true,
        Some(RawBrokerKind::Embedded) => broker == BrokerChoice::Embedded,
        Some(RawBrokerKind::Kafka) => broker == BrokerChoice::Kafka,
    }
}

fn find(view: &View<'_>, kind: &str) -> Option<&'static SinkSpec> {
    view.catalog.sinks.iter().copied().find(|spec| spec.name == kind)
}

/// Topics of the pipeline that stages or reference tables use, with what lies in them; `None` is not known.
fn all_topics<'v>(view: &View<'v>, kinds: &Kinds<'v>) -> BTreeMap<&'v str, Option<EventKind>> {
    let mut topics: BTreeMap<&str, Option<EventKind>> = BTreeMap::new();
    for stage in &view.stages {
        for input in &stage.raw.input {
            let used = [Some(&input.topic), input.output.as_ref()];
            topics.extend(used.into_iter().flatten().map(|topic| (topic.as_str(), None)));
        }
        topics.extend(stage.raw.ports.values().map(|topic| (topic.as_str(), None)));
        for reference in stage.processors.iter().flat_map(|processor| processor.references) {
            topics.extend(stage.raw.references.get(reference.name).map(|topic| (topic.as_str(), Some(reference.kind))));
        }
    }
    topics.extend(
        kinds
            .by_topic
            .iter()
            .filter(|(topic, _)| topics.contains_key(**topic))
            .map(|(topic, kind)| (*topic, Some(*kind)))
            .collect::<Vec<_>>(),
    );
    topics
}

fn reads_of<'v>(
    view: &View<'v>,
    index: usize,
    sink: &RawSink,
    known: &BTreeMap<&'v str, Option<EventKind>>,
    findings: &mut Findings,
) -> BTreeSet<&'v str> {
    let Some(spec) = find(view, &sink.kind) else {
        if !sink.kind.is_empty() {
            let hint = did_you_mean(&sink.kind, view.catalog.sinks.iter().map(|spec| spec.name));
            let message = format!("there is no sink of kind `{}`", sink.kind);
            findings.add_with_hint(place!["sink", index, "kind"], &codes::SINK_UNKNOWN, message, hint);
        }
        return BTreeSet::new();
    };
    let consumes = |kind: &Option<EventKind>| kind.is_none_or(|kind| spec.consumes.contains(&kind));
    let mut reads = BTreeSet::new();
    let is_of_events = |topic: &str| !topic.ends_with(DEAD_LETTER_SUFFIX) && topic != view.raw.pipeline.audit_topic;
    for (at, pattern) in sink.topics.iter().enumerate().filter(|(_, topic)| is_of_events(topic)) {
        let path = place!["sink", index, "topics", at];
        let matched: Vec<_> = known.iter().filter(|(topic, _)| matches(pattern, topic)).collect();
        if matched.is_empty() && !pattern.is_empty() {
            let hint = did_you_mean(pattern, known.keys().copied());
            let message = format!("no topic of the pipeline is named `{pattern}`");
            findings.add_with_hint(path, &codes::SINK_TOPIC_UNKNOWN, message, hint);
        }
        if let (false, [(topic, Some(kind))]) = (pattern.contains('*'), &matched[..])
            && !consumes(&Some(*kind))
        {
            let message = format!("sink `{}` cannot write {kind:?} events from `{topic}`", sink.name);
            let kinds: Vec<&str> = spec.consumes.iter().map(|kind| kind.name).collect();
            let hint = format!("A {} sink writes {}.", spec.name, kinds.join(", "));
            findings.add_with_hint(path, &codes::SINK_KIND, message, Some(hint));
        }
        reads.extend(matched.into_iter().filter(|(_, kind)| consumes(kind)).map(|(topic, _)| *topic));
    }
    if reads.is_empty() && !sink.topics.is_empty() {
        let message = format!("sink `{}` reads no events", sink.name);
        findings.add(place!["sink", index, "topics"], &codes::SINK_IDLE, message);
    }
    reads
}

fn dead_letters(
    index: usize,
    sink: &RawSink,
    topics: &BTreeMap<String, Topic>,
    findings: &mut Findings,
) -> BTreeSet<String> {
    let names = || topics.values().filter(|topic| topic.role == Role::DeadLetters).map(|topic| topic.name.as_str());
    let mut read = BTreeSet::new();
    for (at, pattern) in sink.topics.iter().enumerate().filter(|(_, topic)| topic.ends_with(DEAD_LETTER_SUFFIX)) {
        let before = read.len();
        read.extend(names().filter(|topic| matches(pattern, topic)).map(str::to_owned));
        if read.len() == before && !names().any(|topic| matches(pattern, topic)) {
            let message = format!("no dead letters of the pipeline are named `{pattern}`");
            let hint = did_you_mean(pattern, names());
            findings.add_with_hint(place!["sink", index, "topics", at], &codes::SINK_TOPIC_UNKNOWN, message, hint);
        }
    }
    read
}

/// The settings of an inactive sink are checked as well, unless what they need is only known elsewhere.
fn check_settings(view: &View<'_>, index: usize, spec: &SinkSpec, settings: &Settings, findings: &mut Findings) {
    if findings.is_unresolved(place!["sink", index, "settings"]) {
        return;
    }
    let name = &view.raw.sink[index].name;
    let errors = (spec.open)(name, settings).err().unwrap_or_default();
    let table = place!["sink", index, "settings"];
    report_settings(&codes::SINK_SETTINGS, table, &format!("sink `{name}`"), errors, &view.foreign.0, findings);
}

/// Whether `name` fits `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    rest.char_indices()
        .map(|(at, _)| at)
        .chain([rest.len()])
        .any(|at| matches(after, rest.get(at..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("*.dlq", "payments.requested.v1.dlq", true),
            ("*.dlq", "payments.requested.v1", false),
            ("payments.*.v1", "payments.status.v1", true),
            ("payments.*.v1", "ledger.status.v1", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
