//! Topics: role, partitions, cleanup and settings, inferred from use.

use std::collections::BTreeMap;

use tidemill_core::{EventKind, RawEvent};

use crate::codes;
use crate::findings::{Findings, place};
use crate::plan::{Cleanup, Pipeline, Role, SinkPlan, Topic, Unit, dead_letters_of, parked_of};
use crate::raw::{RawCleanup, RawOnError, RawTopic};

use super::View;
use super::names::is_topic_name;
use super::sinks::Reads;
use super::stages::did_you_mean;
use super::types::Kinds;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const DEAD_LETTER_RETENTION_DAYS: u64 = 30;
/// Kafka's own default for the largest record batch.
const RECORD_BYTES_MAX: u64 = 1_048_588;
/// Upstream systems send what they send: a value that is far too large shall get a coded answer and not stick with its
/// producer.
const INGEST_RECORD_BYTES_MAX: u64 = 12 << 20;
/// Room for the headers that a dead letter gets.
const DEAD_LETTER_HEADER_BYTES_MAX: u64 = 65_536;
/// The engine deletes what is dead in a state log; nothing else may.
const FOR_EVER: &str = "-1";
/// Small segments, because only whole ones are removed from the disk.
const STATE_SEGMENT_BYTES: u64 = 64 << 20;

const TOPIC_SETTINGS: &[&str] = &[
    "compression.type",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "retention.bytes",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];

/// How the pipeline uses one topic.
#[derive(Default)]
struct Use {
    /// Tasks of the unit that reads it.
    read_tasks: Option<u32>,
    /// Most tasks of the units that write it.
    written_tasks: Option<u32>,
    /// A stage that reads it parks what waits behind a failed record.
    is_parked: bool,
    reference: Option<EventKind>,
}

/// All topics with data in them, dead letters included.
pub(super) fn plan(
    view: &View<'_>,
    kinds: &Kinds<'_>,
    reads: &Reads<'_>,
    findings: &mut Findings,
) -> BTreeMap<String, Topic> {
    let uses = uses(view, findings);
    check_names(view, &uses, findings);
    check_config(view, &uses, findings);
    let none = RawTopic::default();
    let mut topics = BTreeMap::new();
    for (name, usage) in &uses {
        let config = view.raw.topics.get(*name).unwrap_or(&none);
        let topic = topic(name, usage, config, kinds, reads);
        if usage.read_tasks.is_some() || reads.is_read(name) {
            let dead_letters = dead_letters(&topic);
            topics.insert(dead_letters.name.clone(), dead_letters);
        }
        if usage.is_parked {
            let parked = parked(&topic);
            topics.insert(parked.name.clone(), parked);
        }
        topics.insert(topic.name.clone(), topic);
    }
    topics
}

/// Adds the topics that only the engine uses.
pub(super) fn with_internal(
    mut topics: BTreeMap<String, Topic>,
    pipeline: &Pipeline,
    units: &[Unit],
    sinks: &[SinkPlan],
) -> BTreeMap<String, Topic> {
    let state_config = [
        ("retention.bytes", FOR_EVER),
        ("retention.ms", FOR_EVER),
        ("segment.bytes", &STATE_SEGMENT_BYTES.to_string()),
    ];
    let state_config = state_config.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut add = |name: String, role, partitions, cleanup, config| {
        topics.insert(name.clone(), Topic { name, role, kind: None, partitions, cleanup, config });
    };
    for unit in units {
        add(unit.tasks_topic(pipeline), Role::Tasks, unit.tasks, Cleanup::Delete, BTreeMap::new());
        add(unit.state_topic(pipeline), Role::StateLog, unit.tasks, Cleanup::Delete, state_config.clone().into());
        // What comes back may be as large as what an ingest topic takes, and needs room for a letter's headers.
        let bytes_max = (INGEST_RECORD_BYTES_MAX + DEAD_LETTER_HEADER_BYTES_MAX).to_string();
        let redrive_config =
            [("max.message.bytes".to_owned(), bytes_max), ("retention.ms".to_owned(), FOR_EVER.to_owned())];
        add(unit.redrive_topic(pipeline), Role::Redrive, unit.tasks, Cleanup::Delete, redrive_config.into());
    }
    for sink in sinks {
        add(sink.tasks_topic(pipeline), Role::Tasks, sink.tasks, Cleanup::Delete, BTreeMap::new());
    }
    add(pipeline.replays_topic(), Role::Replays, 1, Cleanup::Compact, BTreeMap::new());
    add(pipeline.reprocess_topic(), Role::Reprocess, 1, Cleanup::Compact, BTreeMap::new());
    let kept = ["retention.bytes", "retention.ms"].map(|key| (key.to_owned(), FOR_EVER.to_owned()));
    add(pipeline.audit_topic.clone(), Role::Audit, 1, Cleanup::Delete, kept.into());
    topics
}

fn uses<'v>(view: &View<'v>, findings: &mut Findings) -> BTreeMap<&'v str, Use> {
    let mut uses: BTreeMap<&str, Use> = BTreeMap::new();
    for stage in &view.stages {
        let tasks = stage.unit.and_then(|unit| view.raw.unit.get(unit)).map_or(1, |unit| unit.tasks);
        for input in &stage.raw.input {
            let usage = uses.entry(&input.topic).or_default();
            usage.read_tasks.get_or_insert(tasks);
            usage.is_parked |= stage.raw.on_error == Some(RawOnError::Park);
        }
        let outputs = stage.raw.input.iter().filter_map(|input| input.output.as_ref());
        for topic in outputs.chain(stage.raw.ports.values()) {
            let usage = uses.entry(topic).or_default();
            usage.written_tasks = usage.written_tasks.max(Some(tasks));
        }
    }
    for stage in &view.stages {
        for reference in stage.processors.iter().flat_map(|processor| processor.references) {
            let Some(topic) = stage.raw.references.get(reference.name) else { continue };
            let usage = uses.entry(topic).or_default();
            let differs = usage.reference.is_some_and(|kind| kind != reference.kind);
            if differs || usage.read_tasks.is_some() || usage.written_tasks.is_some() {
                let message = format!("`{topic}` cannot be reference table `{}` as well", reference.name);
                let at = place!["stage", stage.index, "references", reference.name];
                findings.add(at, &codes::TOPIC_ROLES, message);
            }
            usage.reference = Some(reference.kind);
        }
    }
    uses.remove("");
    uses
}

fn check_names(view: &View<'_>, uses: &BTreeMap<&str, Use>, findings: &mut Findings) {
    let is_bad = |topic: &str| !topic.is_empty() && !is_topic_name(topic);
    for stage in &view.stages {
        for (index, input) in stage.raw.input.iter().enumerate() {
            let is_ours = uses.get(input.topic.as_str()).is_some_and(|usage| usage.written_tasks.is_some());
            if is_bad(&input.topic) && !is_ours {
                let at = place!["stage", stage.index, "input", index, "topic"];
                findings.add(at, &codes::TOPIC_NAME_UPSTREAM, format!("`{}` carries no version", input.topic));
            }
            if let Some(output) = input.output.as_ref().filter(|output| is_bad(output)) {
                let at = place!["stage", stage.index, "input", index, "output"];
                findings.add(at, &codes::TOPIC_NAME, format!("`{output}` is not a name for a topic"));
            }
        }
        let ports = stage.raw.ports.iter().map(|(key, topic)| ("ports", key, topic));
        let references = stage.raw.references.iter().map(|(key, topic)| ("references", key, topic));
        for (table, key, topic) in ports.chain(references).filter(|(_, _, topic)| is_bad(topic)) {
            let at = place!["stage", stage.index, table, key];
            findings.add(at, &codes::TOPIC_NAME, format!("`{topic}` is not a name for a topic"));
        }
    }
}

fn check_config(view: &View<'_>, uses: &BTreeMap<&str, Use>, findings: &mut Findings) {
    for (name, config) in &view.raw.topics {
        let Some(usage) = uses.get(name.as_str()) else {
            let hint = did_you_mean(name, uses.keys().copied());
            let message = format!("`{name}` is configured, but no stage uses it");
            findings.add_with_hint(place!["topics", name], &codes::TOPIC_UNUSED, message, hint);
            continue;
        };
        if let (Some(stated), Some(tasks)) = (config.partitions, usage.read_tasks)
            && stated != tasks
        {
            let message = format!("`{name}` has {stated} partitions, but the unit that reads it has {tasks} tasks");
            findings.add(place!["topics", name, "partitions"], &codes::PARTITIONS, message);
        }
        let is_compacted = usage.reference.is_some() || config.cleanup == Some(RawCleanup::Compact);
        if usage.reference.is_some() && config.cleanup == Some(RawCleanup::Delete) {
            let message = format!("`{name}` is a reference table and cannot be cleaned up by `delete`");
            findings.add(place!["topics", name, "cleanup"], &codes::CLEANUP, message);
        }
        if is_compacted && config.retention_days.is_some() {
            let message = format!("`{name}` is compacted, so that `retention_days` means nothing");
            findings.add(place!["topics", name, "retention_days"], &codes::CLEANUP, message);
        }
        check_settings(name, config, findings);
    }
}

fn check_settings(name: &str, config: &RawTopic, findings: &mut Findings) {
    for key in config.config.keys() {
        let at = place!["topics", name, "config", key];
        match key.as_str() {
            "cleanup.policy" | "retention.ms" => {
                let message = format!("`{key}` of `{name}` has a key of its own");
                findings.add(at, &codes::TOPIC_SETTING_MISPLACED, message);
            }
            known if TOPIC_SETTINGS.contains(&known) => {}
            unknown => {
                let hint = did_you_mean(unknown, TOPIC_SETTINGS.iter().copied());
                let message = format!("Kafka has no topic setting `{unknown}`");
                findings.add_with_hint(at, &codes::TOPIC_SETTING_UNKNOWN, message, hint);
            }
        }
    }
}

fn topic(name: &str, usage: &Use, config: &RawTopic, kinds: &Kinds<'_>, reads: &Reads<'_>) -> Topic {
    let role = match usage {
        Use { reference: Some(_), .. } => Role::Reference,
        Use { written_tasks: None, .. } => Role::Ingest,
        Use { read_tasks: Some(_), .. } if !reads.is_read(name) => Role::Internal,
        _ => Role::Curated,
    };
    let inferred = usage.read_tasks.or(config.partitions).or(usage.written_tasks);
    let cleanup = match (config.cleanup, role) {
        (Some(RawCleanup::Compact), _) | (None, Role::Reference) => Cleanup::Compact,
        (Some(RawCleanup::Delete), _) | (None, _) => Cleanup::Delete,
    };
    let mut settings = config.config.clone();
    if cleanup == Cleanup::Delete {
        let retention_ms = config.retention_days.map_or("-1".to_owned(), |days| (days * DAY_MS).to_string());
        settings.insert("retention.ms".to_owned(), retention_ms);
    }
    if role == Role::Ingest {
        settings.entry("max.message.bytes".to_owned()).or_insert_with(|| INGEST_RECORD_BYTES_MAX.to_string());
    }
    Topic {
        name: name.to_owned(),
        role,
        kind: usage.reference.or(kinds.by_topic.get(name).copied()).filter(|kind| *kind != RawEvent::KIND),
        partitions: inferred.unwrap_or(1),
        cleanup,
        config: settings,
    }
}

/// Only the engine deletes what waits there, once it does not wait any more.
fn parked(source: &Topic) -> Topic {
    let source_bytes_max = source.config.get("max.message.bytes").and_then(|bytes| bytes.parse::<u64>().ok());
    let bytes_max = source_bytes_max.unwrap_or(RECORD_BYTES_MAX).saturating_add(DEAD_LETTER_HEADER_BYTES_MAX);
    let config = [
        ("max.message.bytes", bytes_max.to_string()),
        ("retention.bytes", FOR_EVER.to_owned()),
        ("retention.ms", FOR_EVER.to_owned()),
    ];
    Topic {
        name: parked_of(&source.name),
        role: Role::Parked,
        kind: None,
        partitions: source.partitions,
        cleanup: Cleanup::Delete,
        config: config.map(|(key, value)| (key.to_owned(), value)).into(),
    }
}

/// Retention counts from the failure, not from the event time, or dead letters of old payments would vanish at once.
fn dead_letters(source: &Topic) -> Topic {
    let source_bytes_max = source.config.get("max.message.bytes").and_then(|bytes| bytes.parse::<u64>().ok());
    let bytes_max = source_bytes_max.unwrap_or(RECORD_BYTES_MAX).saturating_add(DEAD_LETTER_HEADER_BYTES_MAX);
    let config = [
        ("max.message.bytes", bytes_max.to_string()),
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("retention.ms", (DEAD_LETTER_RETENTION_DAYS * DAY_MS).to_string()),
    ];
    Topic {
        name: dead_letters_of(&source.name),
        role: Role::DeadLetters,
        kind: None,
        partitions: source.partitions,
        cleanup: Cleanup::Delete,
        config: config.map(|(key, value)| (key.to_owned(), value)).into(),
    }
}
