//! The calls that rdkafka does not offer in a usable form.
//!
//! - `rd_kafka_flush`: rdkafka's own `flush` polls for up to 100 ms after the last acknowledgement, which makes every
//!   commit cost 100 ms instead of 7.
//! - `rd_kafka_queue_poll`: rdkafka reports the end of a partition without its topic, and a unit reads partition p of
//!   several topics. Reading the event itself also saves an allocation per record.
//! - `rd_kafka_consumer_group_metadata`: what fences offsets, for a producer that is not librdkafka's.
//! - `rd_kafka_memberid`: the name that the group gave to a member, without which it cannot be told from its successor.

use std::ffi::CStr;
use std::ptr;
use std::slice;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use rdkafka_sys as sys;

/// Waits until every record is acknowledged or failed and its report was delivered. `false`: not within the deadline.
/// That a record failed is not an error here.
pub(super) fn flush<C: ProducerContext + 'static>(producer: &ThreadedProducer<C>, deadline: Duration) -> bool {
    // SAFETY: the client outlives the call, and librdkafka's clients may be used from any thread.
    let outcome = unsafe { sys::rd_kafka_flush(producer.client().native_ptr(), milliseconds(deadline)) };
    outcome == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// The name that the group gave to this consumer; `None` while it is in none.
pub(super) fn member_id<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<String> {
    // SAFETY: the client is alive. The string is a copy that belongs to us; it is read before it is given back, once.
    unsafe {
        let native = sys::rd_kafka_memberid(consumer.client().native_ptr());
        let id = text(native).to_owned();
        sys::rd_kafka_mem_free(consumer.client().native_ptr(), native.cast());
        (!id.is_empty()).then_some(id)
    }
}

/// Generation and name of this consumer in its group. Both are empty of meaning before it has joined: `None`.
pub(super) fn membership<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<(i32, String)> {
    // SAFETY: the client is alive. The metadata is a copy that belongs to us; its text is read before it is given back, once.
    unsafe {
        let metadata = sys::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
        if metadata.is_null() {
            return None;
        }
        let generation = sys::rd_kafka_consumer_group_metadata_generation_id(metadata);
        let member = text(sys::rd_kafka_consumer_group_metadata_member_id(metadata)).to_owned();
        sys::rd_kafka_consumer_group_metadata_destroy(metadata);
        (generation >= 0 && !member.is_empty()).then_some((generation, member))
    }
}

/// What a consumer's queue holds.
pub(super) enum Event<'a> {
    Record(Record<'a>),
    /// An error, of one partition where librdkafka names it.
    Error {
        code: RDKafkaErrorCode,
        severity: Severity,
        partition: Option<(String, i32)>,
        reason: String,
    },
    Log {
        /// As syslog counts them.
        level: i32,
        facility: String,
        message: String,
    },
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Passing,
    Fatal,
}

pub(super) type Header<'a> = (&'a str, Option<&'a [u8]>);

/// A record that lies in librdkafka's memory.
pub(super) struct Record<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Vec<Header<'a>>,
}

/// The queue of a consumer that is never subscribed. Must be dropped before the consumer.
pub(super) struct EventQueue(*mut sys::rd_kafka_queue_t);

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for EventQueue {}

impl EventQueue {
    pub(super) fn of<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<Self> {
        // SAFETY: the client is alive; the call returns a new reference, which `drop` gives back.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        (!queue.is_null()).then_some(Self(queue))
    }

    /// Hands the next event to `visit`. `None`: nothing came within `timeout`.
    pub(super) fn poll<R>(&self, timeout: Duration, visit: impl FnOnce(Event<'_>) -> R) -> Option<R> {
        // SAFETY: the queue is alive as long as `self` is.
        let event = unsafe { sys::rd_kafka_queue_poll(self.0, milliseconds(timeout)) };
        if event.is_null() {
            return None;
        }
        let event = OwnedEvent(event);
        // SAFETY: the event is alive until the end of this function, and what is borrowed from it cannot leave `visit`.
        Some(visit(unsafe { event.read() }))
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that `of` took, once.
        unsafe { sys::rd_kafka_queue_destroy(self.0) }
    }
}

struct OwnedEvent(*mut sys::rd_kafka_event_t);

impl Drop for OwnedEvent {
    fn drop(&mut self) {
        // SAFETY: the event came from `rd_kafka_queue_poll`, whose caller owns it, and is destroyed once.
        unsafe { sys::rd_kafka_event_destroy(self.0) }
    }
}

impl OwnedEvent {
    /// # Safety
    /// The event must be alive for `'a`.
    unsafe fn read<'a>(&self) -> Event<'a> {
        // SAFETY: all accessors accept a live event; each one is called on the type of event it is meant for, and the
        // strings they return live as long as the event.
        unsafe {
            match sys::rd_kafka_event_type(self.0) {
                sys::RD_KAFKA_EVENT_FETCH => {
                    let message = sys::rd_kafka_event_message_next(self.0);
                    message.as_ref().map_or(Event::Other, |message| Event::Record(read_record(message)))
                }
                sys::RD_KAFKA_EVENT_ERROR => self.read_error(),
                sys::RD_KAFKA_EVENT_LOG => {
                    let (mut facility, mut message, mut level) = (ptr::null(), ptr::null(), 0);
                    if sys::rd_kafka_event_log(self.0, &mut facility, &mut message, &mut level) != 0 {
                        return Event::Other;
                    }
                    Event::Log { level, facility: text(facility).to_owned(), message: text(message).to_owned() }
                }
                _ => Event::Other,
            }
        }
    }

    /// # Safety
    /// The event must be of type `ERROR`.
    unsafe fn read_error<'a>(&self) -> Event<'a> {
        // SAFETY: as the caller promises. The partition is a copy that belongs to us; it is read before it is given back.
        unsafe {
            let code = RDKafkaErrorCode::from(sys::rd_kafka_event_error(self.0));
            let severity = match sys::rd_kafka_event_error_is_fatal(self.0) {
                0 => Severity::Passing,
                _ => Severity::Fatal,
            };
            let reason = text(sys::rd_kafka_event_error_string(self.0)).to_owned();
            let native = sys::rd_kafka_event_topic_partition(self.0);
            let partition = native.as_ref().map(|native| (text(native.topic).to_owned(), native.partition));
            if !native.is_null() {
                sys::rd_kafka_topic_partition_destroy(native);
            }
            Event::Error { code, severity, partition, reason }
        }
    }
}

/// # Safety
/// The message and its event must be alive for `'a`.
unsafe fn read_record<'a>(message: &'a sys::rd_kafka_message_t) -> Record<'a> {
    // SAFETY: pointers and lengths of a live message describe its own memory; a null pointer means that there is no key or
    // no value, and an empty one is not null.
    unsafe {
        Record {
            topic: text(sys::rd_kafka_topic_name(message.rkt)),
            partition: message.partition,
            offset: message.offset,
            timestamp_ms: sys::rd_kafka_message_timestamp(message, ptr::null_mut()),
            key: bytes(message.key.cast(), message.key_len),
            value: bytes(message.payload.cast(), message.len),
            headers: read_headers(message),
        }
    }
}

/// # Safety
/// The message and its event must be alive as long as the reference.
unsafe fn read_headers(message: &sys::rd_kafka_message_t) -> Vec<Header<'_>> {
    let mut found = Vec::new();
    // SAFETY: the headers belong to the message; `rd_kafka_header_get_all` fills its outputs whenever it reports success.
    unsafe {
        let mut headers = ptr::null_mut();
        if sys::rd_kafka_message_headers(message, &mut headers) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return found;
        }
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        while sys::rd_kafka_header_get_all(headers, found.len(), &mut name, &mut value, &mut length)
            == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            found.push((text(name), bytes(value.cast(), length)));
        }
    }
    found
}

/// # Safety
/// A pointer that is not null must point at `length` bytes that live for `'a`.
unsafe fn bytes<'a>(pointer: *const u8, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!pointer.is_null()).then(|| unsafe { slice::from_raw_parts(pointer, length) })
}

/// What is not UTF-8 reads as empty: names of topics are ASCII, and names of headers are text by the protocol.
///
/// # Safety
/// A pointer that is not null must point at a string that ends with a zero byte and lives for `'a`.
unsafe fn text<'a>(pointer: *const std::ffi::c_char) -> &'a str {
    if pointer.is_null() {
        return "";
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap_or_default()
}

/// Rounded up, so that a wait of less than a millisecond does not become a busy loop.
fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}
