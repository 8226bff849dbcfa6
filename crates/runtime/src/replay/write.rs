//! What is written for a dead letter that is sent back, given up, or no longer waited for.

use std::collections::BTreeMap;

use tidemill_audit::{Action, Outcome};
use tidemill_topology::Topology;
use tidemill_topology::plan::Unit;

use crate::broker::{BrokerError, BrokerErrorKind, Outgoing, Producer, Result};
use crate::dead_letter::{self, FirstOrigin, OwnedHeader, sent_back};
use crate::operator::{Operator, OperatorError};
use crate::replay::notes::write_resolution;
use crate::replay::{Destination, Letter, Notes, Resolution, ResolutionKind};
use crate::worker::Decision;

const TRANSACTION_LETTERS: usize = 500;

/// Sends the letter to its destination, with `value` instead of its own.
pub(crate) fn send_back(
    topology: &Topology,
    producer: &mut dyn Producer,
    letter: &Letter,
    value: Option<&[u8]>,
    destination: &Destination,
    replay_id: &str,
) -> Result<()> {
    let headers = letter.with_record(value, |record| {
        let owned = |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map(<[u8]>::to_vec));
        let mut headers: Vec<OwnedHeader> = dead_letter::original_headers(&record.headers).map(owned).collect();
        headers.extend(FirstOrigin::of(record).headers());
        headers
    });
    let added = [
        (sent_back::REPLAY_COUNT, (letter.replay_count() + 1).to_string()),
        (sent_back::REPLAY_OF, letter.text("id").unwrap_or_default().to_owned()),
        (sent_back::REPLAY_ID, replay_id.to_owned()),
        (sent_back::INPUT, letter.input().to_owned()),
    ];
    let added = added.map(|(name, value)| (name.to_owned(), Some(value.into_bytes())));
    let headers: Vec<OwnedHeader> = headers.into_iter().chain(added).collect();
    let (topic, partition) = match destination {
        Destination::Stage => (unit_of(topology, letter)?.redrive_topic(&topology.pipeline), letter.place.partition),
        Destination::Origin => (letter.input().to_owned(), letter.place.partition),
        Destination::Sandbox(topic) => (topic.clone(), 0),
    };
    producer.send(&Outgoing {
        topic: &topic,
        partition,
        timestamp_ms: letter.timestamp_ms,
        key: letter.key.as_deref(),
        value,
        headers: &dead_letter::borrowed(&headers),
    })
}

/// Gives these letters up: what waits behind them goes on. Those that are resolved already are left as they are. Returns
/// how many were given up.
pub fn discard(operator: &mut Operator, letters: &[Letter], reason: &str) -> std::result::Result<u64, OperatorError> {
    operator.take_over()?;
    let mut notes = Notes::default();
    let notes_topic = operator.topology().pipeline.replays_topic();
    notes.read(operator.broker().as_ref(), &notes_topic)?;
    let open: Vec<&Letter> = letters.iter().filter(|letter| notes.resolution(&letter.place).is_none()).collect();
    let mut discarded = 0;
    for chunk in open.chunks(TRANSACTION_LETTERS) {
        let topology = std::sync::Arc::clone(operator.topology());
        let (actor, at_ms) = (operator.actor().to_owned(), operator.clock().unix_ms());
        let topic = chunk.first().map(|letter| letter.place.topic.clone()).unwrap_or_default();
        let action =
            action("dlq.discard", topic, reason, BTreeMap::from([("discarded".to_owned(), chunk.len() as u64)]));
        operator.act(action, |producer| {
            for letter in chunk {
                let resolution = Resolution {
                    resolution: ResolutionKind::Discarded,
                    dead_letter_id: letter.text("id").unwrap_or_default().to_owned(),
                    destination: String::new(),
                    plan: None,
                    actor: actor.clone(),
                    reason: reason.to_owned(),
                    at_ms,
                };
                write_resolution(producer, &notes_topic, &letter.place.to_string(), &resolution)?;
                if !letter.is_of_sink() {
                    let id = letter.text("id").unwrap_or_default();
                    let input = letter.input();
                    let to = Addressee { input, partition: letter.place.partition, key: letter.key.as_deref(), id };
                    decide(&topology, producer, &to, Decision::Discard, at_ms)?;
                }
            }
            Ok(())
        })?;
        discarded += chunk.len() as u64;
    }
    Ok(discarded)
}

/// Has what waits behind `head` go on without it. The head stays a dead letter.
pub fn release_parked(
    operator: &mut Operator,
    input: &str,
    partition: u32,
    key: &[u8],
    head: &str,
    reason: &str,
) -> std::result::Result<(), OperatorError> {
    let topology = std::sync::Arc::clone(operator.topology());
    let at_ms = operator.clock().unix_ms();
    let object = format!("{input}-{partition} behind {head}");
    operator.act(action("parked.release", object, reason, BTreeMap::new()), |producer| {
        let to = Addressee { input, partition, key: Some(key), id: head };
        decide(&topology, producer, &to, Decision::Release, at_ms)
    })?;
    Ok(())
}

/// Whose dead letter something is decided about.
struct Addressee<'a> {
    input: &'a str,
    partition: u32,
    key: Option<&'a [u8]>,
    id: &'a str,
}

fn decide(
    topology: &Topology,
    producer: &mut dyn Producer,
    to: &Addressee<'_>,
    decision: Decision,
    at_ms: i64,
) -> Result<()> {
    let Some((unit, _, _)) = topology.reader_of(to.input) else { return Ok(()) };
    let headers = [
        (sent_back::INPUT, Some(to.input.as_bytes())),
        (sent_back::REPLAY_OF, Some(to.id.as_bytes())),
        (sent_back::RESOLVE, Some(decision.name().as_bytes())),
    ];
    producer.send(&Outgoing {
        topic: &unit.redrive_topic(&topology.pipeline),
        partition: to.partition,
        timestamp_ms: at_ms,
        key: to.key,
        value: None,
        headers: &headers,
    })
}

fn unit_of<'t>(topology: &'t Topology, letter: &Letter) -> Result<&'t Unit> {
    let found = topology.reader_of(letter.input()).map(|(unit, _, _)| unit);
    found.ok_or_else(|| {
        let message = format!("no stage of this topology reads {}", letter.input());
        BrokerError::new(BrokerErrorKind::Misconfigured, "send a dead letter back", message)
    })
}

pub(crate) fn action(verb: &str, object: String, reason: &str, counts: BTreeMap<String, u64>) -> Action {
    Action {
        actor: String::new(),
        verb: verb.to_owned(),
        object,
        outcome: Outcome::Done,
        reason: reason.to_owned(),
        plan_hash: None,
        counts,
        detail: String::new(),
    }
}
