//! Dead letters: the original bytes, key and headers, and what went wrong in `x-dlq-*` headers.
//!
//! The headers are replaced, never appended, when a replayed record fails again.

use tidemill_core::{RecordView, Reject};

/// Headers longer than this are cut: a message is for people, and a topic has a size limit.
const MESSAGE_BYTES_MAX: usize = 1024;
const PREFIX: &str = "x-dlq-";

/// Who could not process the record.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    pub stage: &'a str,
    pub class: &'a str,
    pub code: &'a str,
    pub message: &'a str,
    pub field: Option<&'a str>,
    pub pipeline: &'a str,
    pub produced_by: &'a str,
    /// Slot of the worker.
    pub instance: &'a str,
    pub group: &'a str,
    pub failed_at_ms: i64,
}

impl<'a> Failure<'a> {
    pub fn of(reject: &'a Reject, stage: &'a str, by: &'a FailedBy) -> Self {
        Self {
            stage,
            class: reject.class().name(),
            code: reject.code().code,
            message: reject.message(),
            field: reject.field(),
            pipeline: &by.pipeline,
            produced_by: &by.produced_by,
            instance: &by.instance,
            group: &by.group,
            failed_at_ms: by.failed_at_ms,
        }
    }
}

/// The part of a [`Failure`] that is the same for all records of a worker.
#[derive(Clone, Debug, Default)]
pub struct FailedBy {
    pub pipeline: String,
    pub produced_by: String,
    pub instance: String,
    pub group: String,
    pub failed_at_ms: i64,
}

/// The headers of the dead letter of `record`: its own first, then ours.
pub fn headers(record: &RecordView<'_>, failure: &Failure<'_>) -> Vec<(String, Option<Vec<u8>>)> {
    let mut headers: Vec<(String, Option<Vec<u8>>)> = record
        .headers
        .iter()
        .filter(|(name, _)| !name.starts_with(PREFIX))
        .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
        .collect();
    let replay_count: u32 = record.headers.text("x-dlq-replay-count").and_then(|text| text.parse().ok()).unwrap_or(0);
    let attempts = replay_count + 1;
    let origin = &record.origin;
    let first = |name: &str, now: String| {
        let before = record.headers.text(&format!("{PREFIX}first-origin-{name}"));
        before.map_or(now, ToOwned::to_owned)
    };
    let first_topic = first("topic", origin.topic.to_owned());
    let first_partition = first("partition", origin.partition.to_string());
    let first_offset = first("offset", origin.offset.to_string());
    let first_timestamp = first("timestamp", record.event_time.millis().to_string());
    let id = format!("{first_topic}-{first_partition}@{first_offset}#{replay_count}");
    let mut add = |name: &str, value: String| headers.push((format!("{PREFIX}{name}"), Some(value.into_bytes())));
    add("id", id);
    add("origin-topic", origin.topic.to_owned());
    add("origin-partition", origin.partition.to_string());
    add("origin-offset", origin.offset.to_string());
    add("origin-timestamp", record.event_time.millis().to_string());
    add("first-origin-topic", first_topic);
    add("first-origin-partition", first_partition);
    add("first-origin-offset", first_offset);
    add("first-origin-timestamp", first_timestamp);
    add("stage", failure.stage.to_owned());
    add("class", failure.class.to_owned());
    add("code", failure.code.to_owned());
    add("retryable", "false".to_owned());
    add("message", cut(failure.message).to_owned());
    if let Some(field) = failure.field {
        add("field", cut(field).to_owned());
    }
    add("attempts", attempts.to_string());
    add("replay-count", replay_count.to_string());
    add("failed-at", failure.failed_at_ms.to_string());
    add("fingerprint", fingerprint(failure));
    add("pipeline", failure.pipeline.to_owned());
    add("version", failure.produced_by.to_owned());
    add("instance", failure.instance.to_owned());
    add("group", failure.group.to_owned());
    headers
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

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_core::{EventTime, Headers, Origin};

    fn failure() -> Failure<'static> {
        Failure {
            stage: "ingest",
            class: "decode",
            code: "payload_unreadable",
            message: "not JSON",
            field: None,
            pipeline: "payments",
            produced_by: "payments@1+00000000",
            instance: "payments-main-a-0",
            group: "payments.main",
            failed_at_ms: 5,
        }
    }

    #[test]
    fn first_origin_survives_a_second_failure_and_nothing_is_appended() {
        let own = [("trace", Some(&b"1"[..])), ("x-dlq-code", Some(b"old"))];
        let mut record = RecordView {
            origin: Origin { topic: "t", partition: 3, offset: 9 },
            event_time: EventTime::from_millis(7),
            key: None,
            value: Some(b"x"),
            headers: Headers::new(&own),
        };
        let first = headers(&record, &failure());
        let mut replayed: Vec<(&str, Option<&[u8]>)> =
            first.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        replayed.push(("x-dlq-replay-count", Some(b"1")));
        record.origin = Origin { topic: "t", partition: 3, offset: 44 };
        record.headers = Headers::new(&replayed);
        let second = headers(&record, &failure());
        assert_eq!(first.len(), second.len());
        let text = |headers: &[(String, Option<Vec<u8>>)], name: &str| {
            let (_, value) = headers.iter().find(|(candidate, _)| candidate == name).expect(name);
            String::from_utf8(value.clone().expect(name)).expect(name)
        };
        assert_eq!(text(&second, "x-dlq-first-origin-offset"), "9");
        assert_eq!(text(&second, "x-dlq-origin-offset"), "44");
        assert_eq!(text(&second, "x-dlq-id"), "t-3@9#1");
        assert_eq!(text(&second, "x-dlq-code"), "payload_unreadable");
        assert_eq!(text(&second, "trace"), "1");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "ä".repeat(MESSAGE_BYTES_MAX);
        assert_eq!(cut(&long).len(), MESSAGE_BYTES_MAX);
        assert_eq!(cut(&format!("x{long}")).len(), MESSAGE_BYTES_MAX - 1);
    }
}
