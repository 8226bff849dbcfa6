//! `tidemill dlq replay`: each dead letter goes back at most once, however often this runs and wherever it is killed.
//!
//! The replayed record and the note that it was replayed are written in one transaction, so neither is without the other.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::json;
use tidemill_core::partition;
use tidemill_runtime::broker::{BrokerError, Outgoing, Producer, TopicPartition, read_all};
use tidemill_runtime::succession::Opened;

use super::letter::{Letter, PREFIX};
use crate::args::{DlqFilter, Global};
use crate::command::provision::confirm;
use crate::exit::{Exit, Failure};
use crate::output::{self, count};
use crate::session::{Access, Session};

/// A record that has come back this often is not sent again: something other than a replay has to change.
const REPLAYS_MAX: u64 = 3;
const TRANSACTION_LETTERS: usize = 500;
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn run(global: &Global, topic: &str, filter: &DlqFilter, reason: &str, yes: bool) -> Result<Exit, Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::new(Exit::Usage, "the reason is empty").hint("Say why, for those who read it later."));
    }
    let session = Session::open(global, Access::Write)?;
    // Opening settles what an earlier replay left open, so that the notes read below are all there are.
    let mut producer = open(&session)?;
    let replays_topic = session.topology.pipeline.replays_topic();
    let done = replayed(&session, &replays_topic)?;
    let letters = super::letters_of(&session, topic, filter)?;
    let (again, letters): (Vec<_>, Vec<_>) = letters.into_iter().partition(|letter| done.contains(&note_key(letter)));
    let (refused, letters): (Vec<_>, Vec<_>) = letters.into_iter().partition(|letter| refusal(letter).is_some());
    for letter in &refused {
        eprintln!(
            "left where it is: {} {}@{}: {}",
            letter.topic,
            letter.partition,
            letter.offset,
            refusal(letter).unwrap_or_default()
        );
    }
    if !letters.is_empty() && !yes {
        confirm(&format!("Send {} dead letters of {topic} back?", letters.len()))?;
    }
    for chunk in letters.chunks(TRANSACTION_LETTERS) {
        producer.begin()?;
        for letter in chunk {
            send(&session, producer.as_mut(), &replays_topic, letter, reason)?;
        }
        producer.flush(TRANSACTION_TIMEOUT)?;
        producer.commit(TRANSACTION_TIMEOUT)?;
    }
    let result = json!({"event": "result", "topic": topic, "replayed": letters.len(), "replayed_before": again.len(), "refused": refused.len()});
    if global.json {
        output::json(&result)?;
    } else {
        let [now, before, refused] = [letters.len(), again.len(), refused.len()].map(|number| count(number as u64));
        output::line(&format!("{now} sent back, {before} had been before, {refused} refused"))?;
    }
    Ok(if refused.is_empty() { Exit::Ok } else { Exit::Refused })
}

fn open(session: &Session) -> Result<Box<dyn Producer>, Failure> {
    let id = format!("{}-dlq-replay", session.topology.pipeline.name);
    match session.succession()?.open(&id, TRANSACTION_TIMEOUT)? {
        Opened::Producer(producer, _) => Ok(producer),
        Opened::Refused => Err(Failure::new(
            Exit::Refused,
            "an earlier replay is open on partitions, and nobody knows whether it was committed",
        )
        .hint("The log names the partitions; `tidemill txn abort` ends it.")),
    }
}

/// Why this letter cannot go back, if so.
fn refusal(letter: &Letter) -> Option<String> {
    if letter.text("stage").is_none_or(|stage| stage.starts_with("sink-")) {
        return Some("a sink refused it; sending it to its topic again would reach every reader".to_owned());
    }
    let replays = letter.number("replay-count").unwrap_or(0);
    if replays >= REPLAYS_MAX {
        return Some(format!("it has been replayed {replays} times already"));
    }
    match letter.text("origin-topic") {
        Some(_) => None,
        None => Some("it does not say where it came from".to_owned()),
    }
}

fn send(
    session: &Session,
    producer: &mut dyn Producer,
    replays_topic: &str,
    letter: &Letter,
    reason: &str,
) -> Result<(), BrokerError> {
    let topic = letter.text("origin-topic").unwrap_or_default();
    let replays = letter.number("replay-count").unwrap_or(0) + 1;
    let is_kept = |name: &str| !name.starts_with(PREFIX) || name.starts_with("x-dlq-first-origin-");
    let replay_count = replays.to_string();
    let mut headers: Vec<(&str, Option<&[u8]>)> = letter
        .headers
        .iter()
        .filter(|(name, _)| is_kept(name))
        .map(|(name, value)| (name.as_str(), value.as_deref()))
        .collect();
    headers.push(("x-dlq-replay-count", Some(replay_count.as_bytes())));
    producer.send(&Outgoing {
        topic,
        // Where it was read: behind everything of its key that came meanwhile, and with the same owner.
        partition: letter.number("origin-partition").and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
        timestamp_ms: letter.timestamp_ms,
        key: letter.key.as_deref(),
        value: letter.value.as_deref(),
        headers: &headers,
    })?;
    let key = note_key(letter);
    let note = json!({"dead_letter": key, "topic": topic, "reason": reason, "replay_count": replays, "replayed_at_ms": session.clock.unix_ms()});
    let partitions = session.topology.topics.get(replays_topic).map_or(1, |topic| topic.partitions);
    producer.send(&Outgoing {
        topic: replays_topic,
        partition: partition::partition_of(key.as_bytes(), partitions),
        timestamp_ms: session.clock.unix_ms(),
        key: Some(key.as_bytes()),
        value: Some(note.to_string().as_bytes()),
        headers: &[],
    })
}

/// Names a dead letter by its place, which never changes.
fn note_key(letter: &Letter) -> String {
    format!("{}-{}@{}", letter.topic, letter.partition, letter.offset)
}

/// The dead letters that have been sent back.
fn replayed(session: &Session, topic: &str) -> Result<HashSet<String>, Failure> {
    let mut keys = HashSet::new();
    let partitions = session.topology.topics.get(topic).map_or(0, |topic| topic.partitions);
    for partition in (0..partitions).map(|number| TopicPartition::new(topic, number)) {
        read_all(session.broker.as_ref(), &partition, |record| {
            keys.extend(record.key.map(|key| String::from_utf8_lossy(key).into_owned()));
            Ok::<_, Failure>(ControlFlow::Continue(()))
        })?;
    }
    Ok(keys)
}
