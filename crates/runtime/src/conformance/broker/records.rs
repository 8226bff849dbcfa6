//! Single records: order, every part of them, and reading from anywhere.

use std::iter::successors;
use std::time::Instant;

use super::{Environment, POLL, Seen, kind, poll, send, value_text};

use crate::broker::{BrokerErrorKind, Isolation, Outgoing, Producer, RecordBatch, Result, TopicPartition, Watermarks};

type Header<'a> = (&'a str, Option<&'a [u8]>);

/// A partition with the values `"0"` up to `count`.
fn numbered(environment: &Environment, count: usize) -> TopicPartition {
    let partition = TopicPartition::new(environment.topic("numbered", 2), 1);
    let values: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    environment.write(&partition, &values.iter().map(String::as_str).collect::<Vec<_>>());
    partition
}

fn assert_numbered(seen: &[Seen], first: usize) {
    for (index, record) in seen.iter().enumerate() {
        let number = first + index;
        assert_eq!((record.offset, value_text(record)), (number as u64, number.to_string()));
    }
}

pub(super) fn keeps_order_and_leaves_no_gap(environment: &Environment) {
    let partition = numbered(environment, 10_000);
    let seen = environment.read(environment.reader(&partition, 0).as_mut(), 10_000, 1_000);
    assert_eq!(seen.len(), 10_000);
    assert_numbered(&seen, 0);
    for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
        let watermarks = environment.broker().watermarks(&partition, isolation).expect("the partition exists");
        assert_eq!(watermarks, Watermarks { low: 0, high: 10_000 });
    }
}

pub(super) fn keeps_every_part_of_a_record(environment: &Environment) {
    type Case<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [Header<'a>], i64);
    let headers: [Header<'_>; 5] =
        [("twice", Some(b"1")), ("twice", Some(b"2")), ("binary", Some(b"\0\xff")), ("null", None), ("", Some(b""))];
    let cases: [Case<'_>; 6] = [
        (None, Some(b"null key"), &[], 1),
        (Some(b""), Some(b"empty key"), &[], 2),
        (Some(b"tombstone"), None, &[], 1_700_000_000_123),
        (Some(b"empty value"), Some(b""), &[], 1_700_000_000_122),
        (Some(b"\0\xff"), Some(b"\xfe\0"), &headers[..1], 4_102_444_799_999),
        (Some(b"headers"), Some(b"value"), &headers, 5),
    ];
    let partition = TopicPartition::new(environment.topic("parts", 1), 0);
    let mut producer = environment.idempotent();
    for (key, value, headers, timestamp_ms) in cases {
        let record = Outgoing { topic: &partition.topic, partition: 0, timestamp_ms, key, value, headers };
        producer.send(&record).expect("the record is taken");
    }
    producer.flush(environment.deadline()).expect("the records are acknowledged");
    let seen = environment.read(environment.reader(&partition, 0).as_mut(), cases.len(), 10);
    for (index, (key, value, headers, timestamp_ms)) in cases.into_iter().enumerate() {
        let expected = Seen {
            offset: index as u64,
            timestamp_ms,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers: headers.iter().map(|(name, value)| (name.to_string(), value.map(<[u8]>::to_vec))).collect(),
        };
        assert_eq!(seen[index], expected);
    }
}

fn send_sized(producer: &mut dyn Producer, partition: &TopicPartition, value: &[u8]) -> Result<()> {
    let TopicPartition { topic, partition } = partition;
    let (key, value, headers) = (None, Some(value), &[][..]);
    producer.send(&Outgoing { topic, partition: *partition, timestamp_ms: 1, key, value, headers })
}

pub(super) fn carries_large_records(environment: &Environment) {
    let partition = TopicPartition::new(environment.topic("large", 1), 0);
    let values: Vec<Vec<u8>> = (0..5u8).map(|number| vec![number; 900_000]).collect();
    let mut producer = environment.idempotent();
    for value in &values {
        send_sized(producer.as_mut(), &partition, value).expect("900 kB are taken");
    }
    producer.flush(environment.deadline()).expect("900 kB are acknowledged");
    let seen = environment.read(environment.reader(&partition, 0).as_mut(), 5, 2);
    assert!(seen.iter().zip(&values).all(|(record, value)| record.value.as_ref() == Some(value)));
}

pub(super) fn refuses_a_record_that_is_too_large(environment: &Environment) {
    let topic = environment.topic_with("large", 1, &[("max.message.bytes", "1000000")]);
    let partition = TopicPartition::new(topic, 0);
    let mut producer = environment.idempotent();
    // Without a pattern: a broker may count the bytes after compression.
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let value: Vec<u8> = successors(Some(1), next).map(|state: u64| (state >> 56) as u8).take(2_000_000).collect();
    let sent = send_sized(producer.as_mut(), &partition, &value);
    let sent = sent.and_then(|()| producer.flush(environment.deadline()));
    assert_eq!(kind(sent), Some(BrokerErrorKind::RecordRefused));
    environment.write(&partition, &["after"]);
    assert_eq!(environment.settled(&partition), ["after"]);
}

pub(super) fn reads_from_the_middle_of_a_batch(environment: &Environment) {
    let partition = numbered(environment, 1_000);
    for first in [0, 1, 499, 998, 999] {
        let seen = environment.read(environment.reader(&partition, first).as_mut(), 1_000 - first as usize, 300);
        assert_eq!(seen.len(), 1_000 - first as usize);
        assert_numbered(&seen, first as usize);
    }
}

pub(super) fn resumes_where_it_stopped(environment: &Environment) {
    let partition = numbered(environment, 3_000);
    let mut next = 0;
    for records_max in [1, 7, 500, 1_000].into_iter().cycle() {
        if next == 3_000 {
            break;
        }
        let mut reader = environment.reader(&partition, next as u64);
        let seen = environment.read(reader.as_mut(), 1, records_max);
        assert_numbered(&seen, next);
        next += seen.len();
    }
}

pub(super) fn assigns_and_unassigns(environment: &Environment) {
    let topic = environment.topic("two", 2);
    let [one, two] = [0, 1].map(|number| TopicPartition::new(topic.clone(), number));
    environment.write(&one, &["one 0", "one 1"]);
    environment.write(&two, &["two 0", "two 1"]);
    let mut reader = environment.reader(&one, 0);
    reader.assign(&two, 1).expect("a second partition is assigned");
    let mut seen: Vec<String> = environment.read(reader.as_mut(), 3, 10).iter().map(value_text).collect();
    seen.sort();
    assert_eq!(seen, ["one 0", "one 1", "two 1"]);

    reader.unassign(&two).expect("it is assigned");
    environment.write(&two, &["two 2"]);
    environment.write(&one, &["one 2"]);
    assert_eq!(value_text(&environment.read(reader.as_mut(), 1, 10)[0]), "one 2");
    assert_eq!(poll(reader.as_mut(), 10), []);
    assert!(!reader.reached_end(&two), "an unassigned partition has no end");

    reader.assign(&one, 1).expect("the position is replaced");
    assert!(!reader.reached_end(&one), "a new assignment starts over");
    let seen: Vec<String> = environment.read(reader.as_mut(), 2, 10).iter().map(value_text).collect();
    assert_eq!(seen, ["one 1", "one 2"]);
}

pub(super) fn waits_for_records_that_come_later(environment: &Environment) {
    let partition = TopicPartition::new(environment.topic("later", 1), 0);
    let mut reader = environment.reader(&partition, 0);
    assert_eq!(poll(reader.as_mut(), 10), []);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| environment.read(reader.as_mut(), 1, 10));
        environment.write(&partition, &["later"]);
        let seen = waiting.join().expect("the record arrives");
        assert_eq!(value_text(&seen[0]), "later");
    });
}

pub(super) fn refuses_a_position_past_the_end(environment: &Environment) {
    let partition = numbered(environment, 3);
    let mut reader = environment.broker().reader(Isolation::ReadCommitted).expect("a reader opens");
    let mut refused = reader.assign(&partition, 1_000);
    let mut batch = RecordBatch::default();
    super::eventually("the position is refused", environment.deadline(), || {
        if refused.is_ok() {
            refused = reader.poll(&mut batch, 10, POLL);
        }
        refused.is_err()
    });
    assert_eq!(kind(refused), Some(BrokerErrorKind::OffsetOutOfRange));
}

pub(super) fn finds_offsets_by_time(environment: &Environment) {
    let partition = TopicPartition::new(environment.topic("times", 1), 0);
    let mut producer = environment.idempotent();
    for timestamp_ms in [1_000, 3_000, 2_000, 5_000] {
        let value = Some(&b"value"[..]);
        let record = Outgoing { topic: &partition.topic, partition: 0, timestamp_ms, key: None, value, headers: &[] };
        producer.send(&record).expect("the record is taken");
        producer.flush(environment.deadline()).expect("the record is acknowledged");
    }
    for (timestamp_ms, expected) in
        [(0, Some(0)), (1_000, Some(0)), (1_001, Some(1)), (2_000, Some(1)), (3_001, Some(3)), (5_001, None)]
    {
        let found = environment.broker().offset_for_time(&partition, timestamp_ms).expect("the partition exists");
        assert_eq!(found, expected, "at {timestamp_ms}");
    }
}

pub(super) fn four_producers_on_one_partition(environment: &Environment) {
    const EACH: usize = 500;
    let partition = TopicPartition::new(environment.topic("shared", 1), 0);
    let mut reader = environment.reader(&partition, 0);
    let seen = std::thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            let partition = &partition;
            scope.spawn(move || {
                let mut producer = environment.idempotent();
                for number in 0..EACH {
                    send(producer.as_mut(), partition, &format!("{name} {number:04}")).expect("the record is taken");
                    if number % 50 == 0 {
                        producer.flush(environment.deadline()).expect("the records are acknowledged");
                    }
                }
                producer.flush(environment.deadline()).expect("the records are acknowledged");
            });
        }
        environment.read(reader.as_mut(), 4 * EACH, 100)
    });
    for name in ["a", "b", "c", "d"] {
        let own: Vec<String> = seen.iter().map(value_text).filter(|value| value.starts_with(name)).collect();
        assert_eq!(own.len(), EACH);
        assert!(own.is_sorted(), "records of producer {name} keep their order");
    }
    let offsets: Vec<u64> = seen.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (0..4 * EACH as u64).collect::<Vec<_>>());
}

pub(super) fn deletes_what_is_before_an_offset(environment: &Environment) {
    let partition = TopicPartition::new(environment.topic("deleted", 1), 0);
    environment.write(&partition, &["a", "b", "c", "d"]);
    let broker = environment.broker();
    // Asked for again, or for less, nothing changes.
    for before in [2, 2, 1] {
        broker.delete_records(&partition, before).expect("records can be deleted");
        let watermarks = broker.watermarks(&partition, Isolation::ReadUncommitted).expect("watermarks");
        assert_eq!(watermarks, Watermarks { low: 2, high: 4 });
    }
    let seen = environment.read(environment.reader(&partition, 2).as_mut(), 2, 10);
    assert_eq!(seen.iter().map(value_text).collect::<Vec<_>>(), ["c", "d"]);
    environment.write(&partition, &["e"]);
    let seen = environment.read(environment.reader(&partition, 4).as_mut(), 1, 10);
    assert_eq!(seen.iter().map(value_text).collect::<Vec<_>>(), ["e"]);
    assert_eq!(kind(broker.delete_records(&partition, 99)), Some(BrokerErrorKind::OffsetOutOfRange));
    let mut reader = environment.reader(&partition, 1);
    let mut batch = RecordBatch::default();
    let started_at = Instant::now();
    let refused = loop {
        let polled = reader.poll(&mut batch, 10, POLL);
        assert!(batch.is_empty(), "what was deleted is not read, nor is anything read instead of it");
        if polled.is_err() || started_at.elapsed() > environment.deadline() {
            break polled;
        }
    };
    assert_eq!(kind(refused), Some(BrokerErrorKind::OffsetOutOfRange));
}
