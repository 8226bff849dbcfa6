//! Scenarios as text: one step a line, what it answered, and what changed in the partitions and positions.
//!
//! A partition is shown as the values that a `read_committed` reader sees, its stable end and its end; a position as the
//! number, `-` for none and `?` while a transaction may still move it. A cell is empty where nothing changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_runtime::broker::{
    Broker, Isolation, Member, MemberEvent, MemberOptions, NewTopic, Outgoing, Producer, ProducerOptions, RecordBatch,
    Result, TopicPartition,
};
use tidemill_runtime::clock::Clock;
use tidemill_tests::model::{EndFault, Hang, ModelKafka, ModelOptions, Place};

pub(crate) const GROUP: &str = "group";
const TASKS_TOPIC: &str = "tasks";
const SESSION_TIMEOUT: Duration = Duration::from_secs(20);
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
const COLUMNS: usize = 5;

#[derive(Default)]
pub(crate) struct TurnedClock(Mutex<Duration>);

impl TurnedClock {
    pub(crate) fn turn(&self, by: Duration) {
        *self.0.lock().expect("nobody panicked") += by;
    }
}

impl Clock for TurnedClock {
    fn now(&self) -> Duration {
        *self.0.lock().expect("nobody panicked")
    }

    fn unix_ms(&self) -> i64 {
        0
    }

    fn sleep(&self, duration: Duration) {
        self.turn(duration);
    }
}

pub(crate) fn out(partition: u32) -> TopicPartition {
    TopicPartition::new("out", partition)
}

/// A model with a topic `out` of two partitions and a tasks topic of two.
pub(crate) fn model(clock: &Arc<TurnedClock>, options: ModelOptions) -> Arc<ModelKafka> {
    let kafka = ModelKafka::new(clock.clone(), options);
    for name in ["out", TASKS_TOPIC] {
        let topic = NewTopic { name: name.to_owned(), partitions: 2, replication: 1, config: BTreeMap::new() };
        kafka.create_topic(&topic).expect("the topic is new");
    }
    kafka
}

pub(crate) fn open(kafka: &ModelKafka, id: &str) -> Result<Box<dyn Producer>> {
    kafka.producer(&ProducerOptions::Transactional { id: id.to_owned(), timeout: TRANSACTION_TIMEOUT })
}

pub(crate) fn send(producer: &mut dyn Producer, partition: u32, value: &str) -> Result<()> {
    let value = Some(value.as_bytes());
    producer.send(&Outgoing { topic: "out", partition, timestamp_ms: 1, key: None, value, headers: &[] })
}

pub(crate) fn readable(kafka: &ModelKafka, partition: u32) -> Vec<String> {
    let mut reader = kafka.reader(Isolation::ReadCommitted).expect("a reader opens");
    reader.assign(&out(partition), 0).expect("the partition exists");
    let mut batch = RecordBatch::default();
    reader.poll(&mut batch, usize::MAX, Duration::ZERO).expect("the poll works");
    let value = |index| String::from_utf8_lossy(batch.view(index, &[]).value.unwrap_or_default()).into_owned();
    (0..batch.len()).map(value).collect()
}

struct Script {
    clock: Arc<TurnedClock>,
    kafka: Arc<ModelKafka>,
    producers: BTreeMap<String, Box<dyn Producer>>,
    members: BTreeMap<String, Box<dyn Member>>,
    /// Events that were told and not yet acknowledged.
    events: BTreeMap<String, MemberEvent>,
    seen: [String; 3],
}

/// Runs the scenario and compares what happened with the table.
///
/// # Panics
/// If they differ.
pub(crate) fn check(options: ModelOptions, table: &str) {
    let clock = Arc::new(TurnedClock::default());
    let kafka = model(&clock, options);
    let mut script = Script {
        clock,
        kafka,
        producers: BTreeMap::new(),
        members: BTreeMap::new(),
        events: BTreeMap::new(),
        seen: Default::default(),
    };
    let rows = table.trim().lines().skip(1).map(|line| {
        let mut cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        cells.resize(COLUMNS, String::new());
        cells
    });
    let expected: Vec<Vec<String>> = rows.collect();
    let found: Vec<Vec<String>> = expected.iter().map(|row| script.row(&row[0])).collect();
    assert!(found == expected, "found:\n{}\nexpected:\n{}", aligned(&found), aligned(&expected));
}

fn aligned(rows: &[Vec<String>]) -> String {
    let line = |row: &Vec<String>| {
        let [step, answer, zero, one, position] = &row[..] else { return String::new() };
        format!("{step:20} | {answer:16} | {zero:12} | {one:12} | {position}").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

impl Script {
    fn row(&mut self, step: &str) -> Vec<String> {
        let words: Vec<&str> = step.split_whitespace().collect();
        let answer = self.step(&words).unwrap_or_else(|error| format!("{:?}", error.kind));
        let now = [self.partition(0), self.partition(1), self.position()];
        let changes = now.iter().zip(&self.seen).map(|(now, seen)| if now == seen { "" } else { now }.to_owned());
        let row = [step.to_owned(), answer].into_iter().chain(changes).collect();
        self.seen = now;
        row
    }

    fn partition(&self, number: u32) -> String {
        let [stable, end] = [Isolation::ReadCommitted, Isolation::ReadUncommitted]
            .map(|isolation| self.kafka.watermarks(&out(number), isolation).expect("the partition exists").high);
        let values = readable(&self.kafka, number).into_iter().chain([format!("{stable}/{end}")]);
        values.collect::<Vec<_>>().join(" ")
    }

    fn position(&self) -> String {
        match self.kafka.committed(GROUP, &[out(0)]) {
            Err(_unstable) => "?".to_owned(),
            Ok(committed) => committed.first().map_or("-".to_owned(), |(_, offset)| offset.to_string()),
        }
    }

    fn step(&mut self, words: &[&str]) -> Result<String> {
        match words {
            ["open", id] => self.open(id, id)?,
            ["open", id, "as", name] => self.open(id, name)?,
            ["kill", name] => {
                self.producers.remove(*name);
                self.members.remove(*name);
            }
            ["begin", name] => self.producer(name).begin()?,
            ["send", name, partition, value] => send(self.producer(name), number(partition), value)?,
            ["flush", name] => self.producer(name).flush(TRANSACTION_TIMEOUT)?,
            ["commit", name] => self.producer(name).commit(TRANSACTION_TIMEOUT)?,
            ["abort", name] => self.producer(name).abort(TRANSACTION_TIMEOUT)?,
            ["offsets", name, offset] => {
                let offsets = [(out(0), u64::from(number(offset)))];
                self.producer(name).send_group_offsets(GROUP, &offsets, TRANSACTION_TIMEOUT)?;
            }
            ["offsets", name, offset, member] => {
                let offsets = [(out(0), u64::from(number(offset)))];
                let Self { producers, members, .. } = self;
                let producer = producers.get_mut(*name).expect("the producer is open");
                producer.send_offsets(&offsets, members[*member].as_ref(), TRANSACTION_TIMEOUT)?;
            }
            ["pass", seconds] => self.clock.turn(Duration::from_secs(u64::from(number(seconds)))),
            _ => return self.step_of_member_or_fault(words),
        }
        Ok("ok".to_owned())
    }

    fn step_of_member_or_fault(&mut self, words: &[&str]) -> Result<String> {
        let kafka = Arc::clone(&self.kafka);
        match words {
            ["join", slot] => self.join(slot, slot)?,
            ["join", slot, "as", name] => self.join(slot, name)?,
            ["poll", name] => return self.poll(name),
            ["follow", name] => {
                let event = self.events.remove(*name).expect("an event was told");
                self.members.get_mut(*name).expect("the member joined").acknowledge(&event)?;
            }
            ["owners"] => {
                let owners = kafka.owners(GROUP).into_iter().map(|(task, slot)| format!("{task}:{slot}"));
                return Ok(owners.collect::<Vec<_>>().join(" "));
            }
            ["settle", "offsets"] => self.settle(&Place::Offsets(GROUP.to_owned())),
            ["settle", partition] => self.settle(&Place::Partition(out(number(partition)))),
            ["hold", id] => kafka.disturb_end(id, EndFault::HoldRequest),
            ["lose", id] => kafka.disturb_end(id, EndFault::LoseAnswer),
            ["double", id] => kafka.disturb_end(id, EndFault::Duplicate),
            ["deliver"] => return Ok(format!("{:?}", kafka.deliver_end(0))),
            ["hang", id, "everywhere"] => kafka.hang(id, Hang::Everywhere),
            ["hang", id, "logs"] => kafka.hang(id, Hang::LogsOnly),
            ["hanging"] => {
                return Ok(kafka.open_everywhere().iter().filter(|open| open.is_hanging).count().to_string());
            }
            ["abort-hanging"] => {
                let hanging = kafka.open_everywhere().into_iter().find(|open| open.is_hanging);
                return Ok(hanging.map_or(0, |open| kafka.abort_hanging(open.producer).len()).to_string());
            }
            ["forget"] => kafka.forget_offsets(GROUP),
            ["rewind", by] => kafka.rewind_offsets(GROUP, |_, offset| offset - u64::from(number(by))),
            ["fence", slot] => return Ok(kafka.fence_member(GROUP, slot).to_string()),
            ["expire", slot] => return Ok(kafka.expire_member(GROUP, slot).to_string()),
            unknown => panic!("no such step: {unknown:?}"),
        }
        Ok("ok".to_owned())
    }

    fn open(&mut self, id: &str, name: &str) -> Result<()> {
        self.producers.insert(name.to_owned(), open(&self.kafka, id)?);
        Ok(())
    }

    fn join(&mut self, slot: &str, name: &str) -> Result<()> {
        let options = MemberOptions {
            group: GROUP.to_owned(),
            tasks_topic: TASKS_TOPIC.to_owned(),
            slot: slot.to_owned(),
            session_timeout: SESSION_TIMEOUT,
        };
        self.members.insert(name.to_owned(), self.kafka.member(&options)?);
        Ok(())
    }

    fn poll(&mut self, name: &str) -> Result<String> {
        let event = self.members.get_mut(name).expect("the member joined").poll(Duration::ZERO)?;
        let Some(event) = event else { return Ok("nothing".to_owned()) };
        let text = format!("{event:?}");
        self.events.insert(name.to_owned(), event);
        Ok(text)
    }

    fn producer(&mut self, name: &str) -> &mut dyn Producer {
        self.producers.get_mut(name).expect("the producer is open").as_mut()
    }

    fn settle(&self, place: &Place) {
        let markers = self.kafka.pending_markers();
        let index = markers.iter().position(|marker| marker.place == *place);
        self.kafka.settle_marker(index.expect("a marker is to be written there"));
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}
