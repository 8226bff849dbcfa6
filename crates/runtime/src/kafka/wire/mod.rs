//! What librdkafka does not offer, spoken over plain TCP with the messages of `kafka-protocol`: leaving a group by name
//! and asking who is in one, looking at open transactions and ending them, reading without a copy per record, and writing
//! in Kafka's second transaction protocol.
//!
//! - Synchronous; every operation has a deadline. Only the connections of producers and readers outlive one.
//! - Codes of the broker fall in the same closed table as those of librdkafka.
//! - Only where the cluster speaks `PLAINTEXT`. Elsewhere every operation says so, and nothing else depends on them.
//! - Deliberately absent: membership and administration, which are librdkafka's.

mod cluster;
mod connection;
#[cfg(feature = "conformance")]
pub mod damage;
pub(super) mod producer;
pub(super) mod reader;
mod requests;
mod roster;
mod succession;
mod transactions;

use std::time::Duration;

use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{GroupId, LeaveGroupRequest};
use kafka_protocol::protocol::StrBytes;
use rdkafka::error::RDKafkaErrorCode;

use self::cluster::{Cluster, error_of};
use self::connection::Until;
use self::producer::TransactionalProducer;
use self::producer::batch::Compression;
use self::reader::{FetchLimits, WireReader};
use crate::broker::{
    BrokerError, BrokerErrorKind, Decision, Isolation, LastTransaction, OpenTransaction, Result, Roster, TopicPartition,
};
use crate::kafka::settings::Settings;

const DEFAULT_PORT: u16 = 9092;
const PLAINTEXT: &str = "plaintext";
/// A process that ends waits for it, and the session ends the membership anyway.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);
const LOOK_DEADLINE: Duration = Duration::from_secs(10);
/// Leaders may move meanwhile.
const END_DEADLINE: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Members and instance are named together, so that a successor who has taken the name is not thrown out.
pub(super) struct Membership<'a> {
    pub(super) group: &'a str,
    pub(super) instance: &'a str,
    pub(super) member: &'a str,
}

#[derive(Clone)]
pub(super) struct Wire {
    bootstrap: Vec<String>,
    /// Why nothing can be asked, if so.
    refusal: Option<String>,
    /// How a producer is to compress; `None` where it has to be in a way that only librdkafka knows.
    compression: Option<Compression>,
    fetch_limits: FetchLimits,
}

impl Wire {
    pub(super) fn new(settings: &Settings) -> Self {
        let (mut bootstrap, mut refusal) = (Vec::new(), None);
        for entry in settings.bootstrap().split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (protocol, address) = entry.split_once("://").unwrap_or((PLAINTEXT, entry));
            if !protocol.eq_ignore_ascii_case(PLAINTEXT) {
                refusal = Some(unavailable("a bootstrap server"));
            }
            bootstrap.push(with_port(address));
        }
        if settings.property("security.protocol").is_some_and(|protocol| !protocol.eq_ignore_ascii_case(PLAINTEXT)) {
            refusal = Some(unavailable("property `security.protocol`"));
        }
        Self { bootstrap, refusal, compression: settings.compression(), fetch_limits: settings.fetch_limits() }
    }

    pub(super) fn is_available(&self) -> bool {
        self.refusal.is_none()
    }

    /// A reader, where the cluster can be read here.
    pub(super) fn reader(&self, isolation: Isolation) -> Option<WireReader> {
        self.is_available().then(|| WireReader::new(&self.bootstrap, isolation, self.fetch_limits))
    }

    /// Opens a producer of Kafka's second transaction protocol, where cluster and settings allow it.
    pub(super) fn producer(&self, id: &str, timeout: Duration) -> Result<Option<TransactionalProducer>> {
        match (&self.refusal, self.compression) {
            (None, Some(compression)) => TransactionalProducer::open(&self.bootstrap, id, timeout, compression),
            _ => Ok(None),
        }
    }

    /// Takes a static member out of its group. One that is gone already is no error.
    pub(super) fn leave_group(&self, membership: &Membership<'_>) -> Result<()> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let member = MemberIdentity::default()
            .with_member_id(text(membership.member))
            .with_group_instance_id(Some(text(membership.instance)))
            .with_reason(Some(StrBytes::from_static_str("the worker was stopped for good")));
        let request =
            LeaveGroupRequest::default().with_group_id(GroupId(text(membership.group))).with_members(vec![member]);
        self.run(Until::within("leave the group", LEAVE_DEADLINE), |cluster| {
            let coordinator = cluster.coordinator_of_group(membership.group)?;
            let answer = cluster.call(&coordinator, &request)?;
            let codes = std::iter::once(answer.error_code).chain(answer.members.iter().map(|member| member.error_code));
            for code in codes {
                let is_gone = [RDKafkaErrorCode::UnknownMemberId, RDKafkaErrorCode::FencedInstanceId];
                if error_of(code).is_none_or(|code| !is_gone.contains(&code)) {
                    cluster.check(code, format_args!("group `{}`", membership.group))?;
                }
            }
            Ok(())
        })
    }

    pub(super) fn roster(&self, group: &str, tasks_topic: &str) -> Result<Option<Roster>> {
        self.run(Until::within("ask who is in the group", LOOK_DEADLINE), |cluster| {
            roster::roster(cluster, group, tasks_topic)
        })
    }

    /// Partitions with an open transaction, and where the first one begins.
    pub(super) fn held_back(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, u64)>> {
        let open = self.run(Until::within("look for open transactions", LOOK_DEADLINE), |cluster| {
            transactions::on_leaders(cluster, partitions)
        })?;
        let mut held: Vec<(TopicPartition, u64)> = Vec::new();
        // Sorted by partition and offset.
        for OpenTransaction { partition, start_offset, .. } in open {
            if held.last().is_none_or(|(last, _)| *last != partition) {
                held.push((partition, start_offset));
            }
        }
        Ok(held)
    }

    pub(super) fn open_transactions(&self, partitions: &[TopicPartition]) -> Result<Vec<OpenTransaction>> {
        self.run(Until::within("look at open transactions", LOOK_DEADLINE), |cluster| {
            transactions::open_transactions(cluster, partitions)
        })
    }

    pub(super) fn end_transactions(&self, meant: &[OpenTransaction], decision: Decision) -> Result<()> {
        let during = match decision {
            Decision::Commit => "commit transactions",
            Decision::Abort => "abort transactions",
        };
        self.run(Until::within(during, END_DEADLINE), |cluster| transactions::end(cluster, meant, decision))
    }

    pub(super) fn last_transaction(&self, transactional_id: &str) -> Result<Option<LastTransaction>> {
        self.run(Until::within("ask for the last transaction", LOOK_DEADLINE), |cluster| {
            succession::last_transaction(cluster, transactional_id, self.compression)
        })
    }

    pub(super) fn abort_running(&self, transactional_id: &str) -> Result<()> {
        self.run(Until::within("abort a running transaction", LOOK_DEADLINE), |cluster| {
            succession::abort_running(cluster, transactional_id)
        })
    }

    pub(super) fn check_leaders(&self, transactional_id: &str, topics: &[String]) -> Result<()> {
        self.run(Until::within("ask a coordinator for the leaders", LOOK_DEADLINE), |cluster| {
            succession::check_leaders(cluster, transactional_id, topics)
        })
    }

    pub(super) fn open_of_producer(&self, producer_id: i64, topics: &[String]) -> Result<Vec<OpenTransaction>> {
        self.run(Until::within("look for what a producer left open", LOOK_DEADLINE), |cluster| {
            succession::open_of_producer(cluster, producer_id, topics)
        })
    }

    /// Tries again from the start while the error is one that passes.
    fn run<T>(&self, until: Until, operation: impl Fn(&mut Cluster) -> Result<T>) -> Result<T> {
        if let Some(refusal) = &self.refusal {
            return Err(BrokerError::new(BrokerErrorKind::Misconfigured, until.during, refusal.clone()));
        }
        loop {
            let error = match operation(&mut Cluster::new(&self.bootstrap, until)) {
                Err(error) if error.kind == BrokerErrorKind::Retriable => error,
                answer => return answer,
            };
            if until.left().is_err() {
                return Err(error);
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }
}

fn unavailable(what: &str) -> String {
    format!(
        "plaintext_only: {what} asks for more than `plaintext`, which this request does not speak; use Kafka's own tools"
    )
}

fn with_port(address: &str) -> String {
    let has_port = address.rsplit_once(':').is_some_and(|(host, port)| {
        !port.is_empty()
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && (!host.contains(':') || host.ends_with(']'))
    });
    if has_port { address.to_owned() } else { format!("{address}:{DEFAULT_PORT}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    fn wire(bootstrap: &str, properties: &[(&str, &str)]) -> Wire {
        let owned = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Wire::new(&Settings::new(bootstrap, &owned).expect("librdkafka takes the properties"))
    }

    #[test]
    fn bootstrap_servers_as_librdkafka_takes_them() {
        let table = [
            ("localhost", "localhost:9092"),
            ("localhost:1", "localhost:1"),
            ("PLAINTEXT://kafka:19092", "kafka:19092"),
            ("[::1]:9", "[::1]:9"),
            ("[::1]", "[::1]:9092"),
        ];
        for (given, expected) in table {
            let wire = wire(given, &[]);
            assert_eq!(wire.bootstrap, [expected]);
            assert!(wire.is_available(), "{given}");
        }
        assert_eq!(wire("a:1, b:2", &[]).bootstrap, ["a:1", "b:2"]);
    }

    #[test]
    fn a_cluster_that_wants_more_than_plaintext_is_refused_by_name() {
        let properties = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.username", "u"),
            ("sasl.password", "s3cret"),
        ];
        for wire in [wire("127.0.0.1:1", &properties), wire("SSL://127.0.0.1:1", &[])] {
            let error = wire.open_transactions(&[]).expect_err("it is refused");
            assert_eq!(error.kind, BrokerErrorKind::Misconfigured);
            assert!(error.message.starts_with("plaintext_only: "), "{error}");
            assert!(!error.message.contains("s3cret"), "{error}");
        }
        assert!(wire("127.0.0.1:1", &[("security.protocol", "PLAINTEXT")]).is_available());
    }

    /// Servers that are none: each gets one connection after another and answers with what the table says.
    #[test]
    fn whatever_answers_the_deadline_holds() {
        let table: [(&str, &'static [u8], BrokerErrorKind); 5] = [
            ("silence", b"", BrokerErrorKind::Retriable),
            ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n", BrokerErrorKind::Fatal),
            ("a negative length", &[0xff; 4], BrokerErrorKind::Fatal),
            ("an answer to another request", &[0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 0], BrokerErrorKind::Fatal),
            ("an answer that ends early", &[0, 0, 0, 6, 0, 0, 0, 1, 0, 0], BrokerErrorKind::Fatal),
        ];
        for (case, bytes, expected) in table {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("it is bound").to_string();
            // Ends with the process: nobody connects any more.
            std::thread::spawn(move || {
                let mut open = Vec::new();
                for stream in listener.incoming().map_while(std::result::Result::ok) {
                    let mut stream = stream;
                    let _request = stream.read(&mut [0; 1024]);
                    let _answered = stream.write_all(bytes);
                    open.push(stream);
                }
            });
            let started_at = Instant::now();
            let until = Until::within("test", Duration::from_millis(300));
            let wire = wire(&address, &[]);
            let outcome = wire.run(until, |cluster| cluster.coordinator_of_group("group"));
            let error = outcome.expect_err("it is no broker");
            assert_eq!(error.kind, expected, "{case}: {error}");
            assert!(started_at.elapsed() < Duration::from_secs(3), "{case}");
        }
    }

    #[test]
    fn nobody_there_is_an_error_that_passes() {
        let properties = BTreeMap::new();
        let wire = Wire::new(&Settings::new("127.0.0.1:1", &properties).expect("nobody is asked"));
        let until = Until::within("test", Duration::from_millis(100));
        let error = wire.run(until, |cluster| cluster.coordinator_of_group("group")).expect_err("nobody is there");
        assert_eq!(error.kind, BrokerErrorKind::Retriable, "{error}");
    }
}
