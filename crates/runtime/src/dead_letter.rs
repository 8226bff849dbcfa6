//! Dead letters: the original bytes, key and headers, and what went wrong in `x-dlq-*` headers.
//!
//! The headers are replaced, never appended, when a replayed record fails again. `failed-at`, `instance` and `attempts` come
//! from the runtime; everything else is the same however often the failing work is done.

use sha2::{Digest, Sha256};
use tidemill_core::{Headers, RecordView, Reject};
use tidemill_topology::plan::HeaderStyle;

use crate::redaction::redact;

/// Headers longer than this are cut: a message is for people, and a topic has a size limit.
const MESSAGE_BYTES_MAX: usize = 1024;
pub const PREFIX: &str = "x-dlq-";
const FIRST_ORIGIN: &str = "x-dlq-first-origin-";
const TRACEPARENT: &str = "traceparent";

/// What a record carries that was sent back.
pub mod sent_back {
    /// How often it has been by now.
    pub const REPLAY_COUNT: &str = "x-dlq-replay-count";
    /// Id of the dead letter that it was.
    pub const REPLAY_OF: &str = "x-dlq-replay-of";
    /// Topic of the input that it belongs to, of a dead letter as on its way through the unit's redrive topic.
    pub const INPUT: &str = "x-dlq-input";
    /// Instead of a record: what an operator has decided about the dead letter.
    pub const RESOLVE: &str = "x-dlq-resolve";
    /// The replay that sent it. Stages with side effects can tell by it that they may have had them before.
    pub const REPLAY_ID: &str = "x-replay-id";
}

/// A header and its value.
pub type OwnedHeader = (String, Option<Vec<u8>>);

/// Who could not process the record.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    pub stage: &'a str,
    pub class: &'a str,
    pub code: &'a str,
    pub message: &'a str,
    pub field: Option<&'a str>,
    /// Topic whose stage or sink failed. The record may have been read elsewhere, if it was sent back.
    pub input: &'a str,
    /// Of the value's schema under the subject of `input`, if the registry has said.
    pub schema_version: Option<u32>,
    pub by: &'a FailedBy,
}

impl<'a> Failure<'a> {
    pub fn of(reject: &'a Reject, stage: &'a str, input: &'a str, by: &'a FailedBy) -> Self {
        Self {
            stage,
            class: reject.class().name(),
            code: reject.code().code,
            message: reject.message(),
            field: reject.field(),
            input,
            schema_version: None,
            by,
        }
    }
}

/// The part of a [`Failure`] that is the same for all records of a worker.
#[derive(Clone, Debug, Default)]
pub struct FailedBy {
    pub pipeline: String,
    pub produced_by: String,
    pub config_hash: String,
    /// Slot of the worker.
    pub instance: String,
    pub group: String,
    pub failed_at_ms: i64,
    /// Whose header names are written beside our own.
    pub styles: Vec<HeaderStyle>,
}

/// Where a record first came in, however often it has been sent back since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstOrigin {
    pub topic: String,
    pub partition: String,
    pub offset: String,
    pub timestamp: String,
}

impl FirstOrigin {
    pub fn of(record: &RecordView<'_>) -> Self {
        let before = |name: &str| record.headers.text(&format!("{FIRST_ORIGIN}{name}")).map(ToOwned::to_owned);
        let origin = &record.origin;
        Self {
            topic: before("topic").unwrap_or_else(|| origin.topic.to_owned()),
            partition: before("partition").unwrap_or_else(|| origin.partition.to_string()),
            offset: before("offset").unwrap_or_else(|| origin.offset.to_string()),
            timestamp: before("timestamp").unwrap_or_else(|| record.event_time.millis().to_string()),
        }
    }

    pub fn headers(self) -> [OwnedHeader; 4] {
        let Self { topic, partition, offset, timestamp } = self;
        [("topic", topic), ("partition", partition), ("offset", offset), ("timestamp", timestamp)]
            .map(|(name, value)| (format!("{FIRST_ORIGIN}{name}"), Some(value.into_bytes())))
    }
}

/// How often the record has been sent back.
pub fn replay_count(headers: &Headers<'_>) -> u32 {
    headers.text(sent_back::REPLAY_COUNT).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The id of the dead letter that `record` becomes, in the form of a UUID of version 8: the same however often the
/// failing work is repeated, another one each time it is sent back and fails again.
pub fn id(record: &RecordView<'_>) -> String {
    let origin = FirstOrigin::of(record);
    let replays = replay_count(&record.headers);
    let text = format!("{}\0{}\0{}\0{replays}", origin.topic, origin.partition, origin.offset);
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let [mut bytes, _] = [0, 16].map(|at| <[u8; 16]>::try_from(&hash[at..at + 16]).unwrap_or_default());
    bytes[6] = 0x80 | bytes[6] & 0x0f;
    bytes[8] = 0x80 | bytes[8] & 0x3f;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap_or_default());
    parts.join("-")
}

/// The headers of the record itself, without any that a failure or a replay has added. Of several `traceparent` the last.
pub fn original_headers<'a>(headers: &'a Headers<'a>) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
    let last_trace = headers.iter().enumerate().filter(|(_, (name, _))| *name == TRACEPARENT).last();
    let last_trace = last_trace.map(|(index, _)| index);
    headers.iter().enumerate().filter_map(move |(index, (name, value))| {
        let is_added = name.starts_with(PREFIX) || name == sent_back::REPLAY_ID || is_compatible(name);
        let is_old_trace = name == TRACEPARENT && last_trace != Some(index);
        (!is_added && !is_old_trace).then_some((name, value))
    })
}

/// The headers of the dead letter of `record`: its own first, then ours.
pub fn headers(record: &RecordView<'_>, failure: &Failure<'_>) -> Vec<OwnedHeader> {
    let owned = |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map(<[u8]>::to_vec));
    let mut headers: Vec<OwnedHeader> = original_headers(&record.headers).map(owned).collect();
    let replays = replay_count(&record.headers);
    let message = redact(failure.message);
    let message = cut(&message);
    let mut add = |name: &str, value: String| headers.push((format!("{PREFIX}{name}"), Some(value.into_bytes())));
    add("id", id(record));
    let origin = &record.origin;
    add("origin-topic", origin.topic.to_owned());
    add("origin-partition", origin.partition.to_string());
    add("origin-offset", origin.offset.to_string());
    add("origin-timestamp", record.event_time.millis().to_string());
    add("input", failure.input.to_owned());
    add("stage", failure.stage.to_owned());
    add("class", failure.class.to_owned());
    add("code", failure.code.to_owned());
    add("retryable", (failure.class == "dependency").to_string());
    add("message", message.to_owned());
    if let Some(field) = failure.field {
        add("field", cut(field).to_owned());
    }
    add("attempts", (replays + 1).to_string());
    add("replay-count", replays.to_string());
    add("failed-at", failure.by.failed_at_ms.to_string());
    add("fingerprint", fingerprint(failure));
    add("pipeline", failure.by.pipeline.clone());
    add("version", failure.by.produced_by.clone());
    add("config-hash", failure.by.config_hash.clone());
    add("instance", failure.by.instance.clone());
    add("group", failure.by.group.clone());
    if let Some(id) = schema_id(record.value) {
        add("schema-id", id.to_string());
        add("schema-subject", crate::codecs::subject_of(failure.input));
        if let Some(version) = failure.schema_version {
            add("schema-version", version.to_string());
        }
    }
    headers.extend(FirstOrigin::of(record).headers());
    for style in &failure.by.styles {
        add_compatible(*style, record, failure, message, &mut headers);
    }
    headers
}

/// Of a value in the Confluent wire format.
pub(crate) fn schema_id(value: Option<&[u8]>) -> Option<u32> {
    match value?.first_chunk::<5>()? {
        [0, id @ ..] => Some(u32::from_be_bytes(*id)),
        _ => None,
    }
}

const CONNECT: &str = "__connect.errors.";
const SPRING: &str = "kafka_dlt-";

fn is_compatible(name: &str) -> bool {
    name.starts_with(CONNECT) || name.starts_with(SPRING)
}

fn add_compatible(
    style: HeaderStyle,
    record: &RecordView<'_>,
    failure: &Failure<'_>,
    message: &str,
    headers: &mut Vec<OwnedHeader>,
) {
    let origin = FirstOrigin::of(record);
    let exception = format!("tidemill.{}.{}", failure.class, failure.code);
    // There is none, and readers of these headers take the line that stands on top of one for granted.
    let stack_trace = format!("{exception}: {message}");
    let mut add = |prefix: &str, name: &str, value: Vec<u8>| headers.push((format!("{prefix}{name}"), Some(value)));
    match style {
        HeaderStyle::Connect => {
            let text = [
                ("topic", origin.topic),
                ("partition", origin.partition),
                ("offset", origin.offset),
                ("connector.name", failure.by.pipeline.clone()),
                ("task.id", failure.by.instance.clone()),
                ("stage", failure.stage.to_owned()),
                ("class.name", format!("tidemill.{}", failure.stage)),
                ("exception.class.name", exception),
                ("exception.message", message.to_owned()),
                ("exception.stacktrace", stack_trace),
            ];
            text.into_iter().for_each(|(name, value)| add(CONNECT, name, value.into_bytes()));
        }
        HeaderStyle::Spring => {
            let number = |text: &str| text.parse::<i64>().unwrap_or_default();
            let partition = i32::try_from(number(&origin.partition)).unwrap_or_default();
            add(SPRING, "original-topic", origin.topic.into_bytes());
            add(SPRING, "original-partition", partition.to_be_bytes().to_vec());
            add(SPRING, "original-offset", number(&origin.offset).to_be_bytes().to_vec());
            add(SPRING, "original-timestamp", number(&origin.timestamp).to_be_bytes().to_vec());
            add(SPRING, "original-timestamp-type", b"CreateTime".to_vec());
            add(SPRING, "original-consumer-group", failure.by.group.clone().into_bytes());
            add(SPRING, "exception-fqcn", exception.into_bytes());
            add(SPRING, "exception-message", message.as_bytes().to_vec());
            add(SPRING, "exception-stacktrace", stack_trace.into_bytes());
        }
    }
}

/// The same for all records that fail in the same way: hash of stage, code and field.
fn fingerprint(failure: &Failure<'_>) -> String {
    let text = format!("{}\0{}\0{}", failure.stage, failure.code, failure.field.unwrap_or_default());
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Headers as a producer wants them.
pub fn borrowed(headers: &[OwnedHeader]) -> Vec<(&str, Option<&[u8]>)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use tidemill_core::{EventTime, Origin};

    fn by(styles: Vec<HeaderStyle>) -> FailedBy {
        FailedBy {
            pipeline: "payments".to_owned(),
            produced_by: "payments@1+00000000".to_owned(),
            config_hash: "00000000".to_owned(),
            instance: "payments-main-a-0".to_owned(),
            group: "payments.main".to_owned(),
            failed_at_ms: 5,
            styles,
        }
    }

    fn failure<'a>(by: &'a FailedBy, message: &'a str) -> Failure<'a> {
        Failure {
            stage: "ingest",
            class: "decode",
            code: "payload_unreadable",
            message,
            field: None,
            input: "t",
            schema_version: Some(3),
            by,
        }
    }

    fn record<'a>(offset: u64, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> RecordView<'a> {
        RecordView {
            origin: Origin { topic: "t", partition: 3, offset },
            event_time: EventTime::from_millis(7),
            key: None,
            value: Some(b"\0\0\0\0\x09datum"),
            headers: Headers::new(headers),
        }
    }

    fn text(headers: &[OwnedHeader], name: &str) -> String {
        let (_, value) = headers.iter().find(|(candidate, _)| candidate == name).expect(name);
        String::from_utf8(value.clone().expect(name)).expect(name)
    }

    #[test]
    fn first_origin_survives_a_second_failure_and_nothing_is_appended() {
        let by = by(vec![HeaderStyle::Connect, HeaderStyle::Spring]);
        let own = [
            ("traceparent", Some(&b"old"[..])),
            ("tenant", Some(b"a")),
            ("tenant", None),
            ("traceparent", Some(b"new")),
            ("x-dlq-code", Some(b"old")),
        ];
        let first = headers(&record(9, &own), &failure(&by, "not JSON"));
        let mut replayed = borrowed(&first);
        replayed.push((sent_back::REPLAY_ID, Some(b"plan")));
        replayed.retain(|(name, _)| *name != sent_back::REPLAY_COUNT);
        replayed.push((sent_back::REPLAY_COUNT, Some(b"1")));
        let second = headers(&record(44, &replayed), &failure(&by, "not JSON"));
        let names = |headers: &[OwnedHeader]| headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&first), names(&second));
        let unique: BTreeSet<String> = names(&first).into_iter().filter(|name| name != "tenant").collect();
        assert_eq!(unique.len() + 2, first.len(), "what the sender wrote twice stays twice, ours stands once");
        for (name, expected) in [
            ("x-dlq-first-origin-offset", "9"),
            ("x-dlq-origin-offset", "44"),
            ("x-dlq-code", "payload_unreadable"),
            ("x-dlq-replay-count", "1"),
            ("x-dlq-schema-id", "9"),
            ("x-dlq-schema-subject", "t-value"),
            ("x-dlq-schema-version", "3"),
            ("traceparent", "new"),
            ("__connect.errors.offset", "9"),
            ("__connect.errors.class.name", "tidemill.ingest"),
            ("__connect.errors.exception.stacktrace", "tidemill.decode.payload_unreadable: not JSON"),
            ("kafka_dlt-exception-stacktrace", "tidemill.decode.payload_unreadable: not JSON"),
        ] {
            assert_eq!(text(&second, name), expected, "{name}");
        }
        let spring = second.iter().find(|(name, _)| name == "kafka_dlt-original-offset").expect("is written");
        assert_eq!(spring.1.as_deref(), Some(&9_i64.to_be_bytes()[..]), "Spring's numbers are binary");
    }

    #[test]
    fn an_id_is_the_same_for_the_same_failure_and_another_after_a_replay() {
        let once = id(&record(9, &[]));
        assert_eq!(id(&record(9, &[])), once);
        assert_ne!(id(&record(10, &[])), once);
        let replayed = [
            ("x-dlq-first-origin-topic", Some(&b"t"[..])),
            ("x-dlq-first-origin-partition", Some(b"3")),
            ("x-dlq-first-origin-offset", Some(b"9")),
        ];
        assert_eq!(id(&record(44, &replayed)), once, "where it lies now does not matter");
        let with_count = [&replayed[..], &[("x-dlq-replay-count", Some(b"1"))]].concat();
        assert_ne!(id(&record(44, &with_count)), once);
        let [_, _, third, fourth, _] = once.split('-').collect::<Vec<_>>()[..] else { panic!("{once}") };
        assert!(third.starts_with('8') && fourth.starts_with(['8', '9', 'a', 'b']), "{once}");
    }

    #[test]
    fn a_message_shows_nothing_of_the_record_and_is_cut_between_characters() {
        let by = by(Vec::new());
        let headers = headers(&record(9, &[]), &failure(&by, "account 4111111111111111 of mary@example.com"));
        let message = text(&headers, "x-dlq-message");
        assert!(!message.contains("4111") && !message.contains("mary"), "{message}");
        let long = "ä".repeat(MESSAGE_BYTES_MAX);
        assert_eq!(cut(&long).len(), MESSAGE_BYTES_MAX);
        assert_eq!(cut(&format!("x{long}")).len(), MESSAGE_BYTES_MAX - 1);
    }
}
