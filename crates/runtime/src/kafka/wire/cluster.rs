//! The brokers of a cluster as one operation sees them: who leads what, and a connection to each that is spoken to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{FindCoordinatorRequest, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::broker::{BrokerErrorKind, Result, TopicPartition};
use crate::kafka::errors::code_error;
use crate::kafka::wire::connection::{Connection, Until};
use crate::kafka::wire::requests::Call;

const GROUPS: i8 = 0;
const TRANSACTIONS: i8 = 1;

pub(super) struct Cluster {
    until: Until,
    bootstrap: Vec<String>,
    connections: BTreeMap<String, Connection>,
    lost: u32,
}

/// Addresses of all brokers, and of the leader of each partition that was asked for. A partition that is missing does not
/// exist.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) brokers: BTreeSet<String>,
    pub(super) leaders: BTreeMap<TopicPartition, String>,
}

impl Cluster {
    pub(super) fn new(bootstrap: &[String], until: Until) -> Self {
        Self { until, bootstrap: bootstrap.to_vec(), connections: BTreeMap::new(), lost: 0 }
    }

    pub(super) fn until(&self) -> Until {
        self.until
    }

    pub(super) fn call<C: Call>(&mut self, address: &str, request: &C) -> Result<C::Answer> {
        let until = self.until;
        self.with(address, |connection| connection.call(request, until))
    }

    /// In exactly this version.
    #[cfg(feature = "conformance")]
    pub(super) fn call_in<C: Call>(&mut self, address: &str, request: &C, version: i16) -> Result<C::Answer> {
        let until = self.until;
        self.with(address, |connection| connection.exchange(request, version, until))
    }

    /// Opens the connection if there is none. After an error nobody knows what still comes on it, so only one without is
    /// kept.
    pub(super) fn with<T>(&mut self, address: &str, act: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let mut connection = match self.connections.remove(address) {
            Some(connection) => connection,
            None => Connection::open(address, self.until)?,
        };
        let done = act(&mut connection).inspect_err(|_| self.lost += 1)?;
        self.connections.insert(address.to_owned(), connection);
        Ok(done)
    }

    /// Closes the connection, with whatever is under way on it.
    pub(super) fn hang_up(&mut self, address: &str) {
        self.connections.remove(address);
    }

    /// Goes on with the connections that are open, for another operation.
    pub(super) fn renew(&mut self, until: Until) {
        self.until = until;
    }

    /// Those of the addresses whose connection has something to read or has ended, as soon as there is one or `timeout` is
    /// over.
    pub(super) fn wait_readable(&self, addresses: &[&str], timeout: Duration) -> Result<Vec<String>> {
        let watched: Vec<(&str, &Connection)> = addresses
            .iter()
            .filter_map(|address| self.connections.get(*address).map(|connection| (*address, connection)))
            .collect();
        let mut polled: Vec<PollFd<'_>> =
            watched.iter().map(|(_, connection)| PollFd::new(connection.stream(), PollFlags::IN)).collect();
        if polled.is_empty() {
            return Ok(Vec::new());
        }
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(self.until.fatal(format!("waiting for an answer: {error}"))),
        }
        let ready = watched.iter().zip(&polled).filter(|(_, polled)| !polled.revents().is_empty());
        Ok(ready.map(|((address, _), _)| (*address).to_owned()).collect())
    }

    /// How many connections have been lost, those that the other side has closed meanwhile among them.
    pub(super) fn lost(&mut self) -> u32 {
        let before = self.connections.len();
        self.connections.retain(|_, connection| !connection.is_closed());
        self.lost += u32::try_from(before - self.connections.len()).unwrap_or(u32::MAX);
        self.lost
    }

    /// Asks one broker after another until one answers.
    pub(super) fn call_any<C: Call>(&mut self, request: &C) -> Result<C::Answer> {
        let mut last = self.until.passing("no bootstrap server is named");
        for address in self.bootstrap.clone() {
            match self.call(&address, request) {
                Err(error) if error.kind == BrokerErrorKind::Retriable => last = error,
                answer => return answer,
            }
        }
        Err(last)
    }

    /// Fails while a partition of the topics has no leader: what a broker that is away holds cannot be left out of account.
    pub(super) fn layout(&mut self, topics: &BTreeSet<&str>) -> Result<Layout> {
        let answer = self.call_any(&metadata_of(topics))?;
        self.read_layout(&answer)
    }

    /// Like [`Cluster::layout`], as this one broker knows it.
    pub(super) fn layout_at(&mut self, address: &str, topics: &BTreeSet<&str>) -> Result<Layout> {
        let answer = self.call(address, &metadata_of(topics))?;
        self.read_layout(&answer)
    }

    fn read_layout(&self, answer: &MetadataResponse) -> Result<Layout> {
        let during = self.until.during;
        let addresses: BTreeMap<i32, String> = answer
            .brokers
            .iter()
            .map(|broker| (broker.node_id.0, format!("{}:{}", &*broker.host, broker.port)))
            .collect();
        let mut leaders = BTreeMap::new();
        for topic in &answer.topics {
            let name = topic.name.as_ref().map_or("", |name| name.as_str());
            match error_of(topic.error_code) {
                None => {}
                Some(RDKafkaErrorCode::UnknownTopicOrPartition) => continue,
                Some(code) => return Err(code_error(during, code, format_args!("topic `{name}`"))),
            }
            for partition in &topic.partitions {
                let number = u32::try_from(partition.partition_index).unwrap_or_default();
                let about = format!("{name}-{number}");
                let Some(leader) = addresses.get(&partition.leader_id.0) else {
                    return Err(self.until.passing(format!("{about} has no leader")));
                };
                leaders.insert(TopicPartition::new(name, number), leader.clone());
            }
        }
        Ok(Layout { brokers: addresses.into_values().collect(), leaders })
    }

    pub(super) fn coordinator_of_group(&mut self, group: &str) -> Result<String> {
        self.coordinator(GROUPS, group)
    }

    pub(super) fn coordinator_of_transactions(&mut self, transactional_id: &str) -> Result<String> {
        self.coordinator(TRANSACTIONS, transactional_id)
    }

    fn coordinator(&mut self, kind: i8, name: &str) -> Result<String> {
        let key = StrBytes::from_string(name.to_owned());
        let answer = self.call_any(&FindCoordinatorRequest::default().with_key(key).with_key_type(kind))?;
        self.check(answer.error_code, format_args!("the coordinator of `{name}`"))?;
        Ok(format!("{}:{}", &*answer.host, answer.port))
    }

    /// Turns a code that a broker answered with into an error, by the table of librdkafka's codes.
    pub(super) fn check(&self, code: i16, about: impl std::fmt::Display) -> Result<()> {
        match error_of(code) {
            None => Ok(()),
            Some(code) => Err(code_error(self.until.during, code, about)),
        }
    }
}

fn metadata_of(topics: &BTreeSet<&str>) -> MetadataRequest {
    let name = |topic: &&str| TopicName(StrBytes::from_string((*topic).to_owned()));
    let wanted = topics.iter().map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic)))).collect();
    MetadataRequest::default().with_topics(Some(wanted)).with_allow_auto_topic_creation(false)
}

impl Layout {
    /// The partitions that exist, by the address of their leader.
    pub(super) fn by_leader<'a>(
        &self,
        partitions: impl Iterator<Item = &'a TopicPartition>,
    ) -> BTreeMap<String, Vec<&'a TopicPartition>> {
        let mut by_leader: BTreeMap<String, Vec<&TopicPartition>> = BTreeMap::new();
        for partition in partitions {
            if let Some(leader) = self.leaders.get(partition) {
                by_leader.entry(leader.clone()).or_default().push(partition);
            }
        }
        by_leader
    }
}

/// The numbers of librdkafka's codes above −2 are those of the protocol.
pub(super) fn error_of(code: i16) -> Option<RDKafkaErrorCode> {
    match RDKafkaRespErr::try_from(i32::from(code)) {
        Ok(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR) => None,
        Ok(known) => Some(known.into()),
        Err(_) => Some(RDKafkaErrorCode::Unknown),
    }
}
