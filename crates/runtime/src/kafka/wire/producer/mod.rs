//! A transactional producer that speaks Kafka's second transaction protocol (KIP-890), which librdkafka does not.
//!
//! - Every end of a transaction begins another epoch, so a request that comes late can never end the one after it.
//! - Partitions and offsets add themselves to the transaction: it costs three answers, however many it writes to.
//! - Records become batches as they come. Nothing is copied, queued or acknowledged record by record.
//!
//! Disposable: whatever a leader or coordinator refuses for the moment is asked for again until a deadline, and after
//! anything else, a lost connection first of all, the transaction is over and another producer has to be opened. Sends and
//! waits on the thread of whoever calls it; large transactions are sent while they are still written.

pub(in crate::kafka) mod batch;
mod ending;
mod lane;
mod sending;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kafka_protocol::messages::{InitProducerIdRequest, TransactionalId};
use kafka_protocol::protocol::StrBytes;

use self::batch::{Compression, Identity};
use self::lane::Lane;
use self::sending::Awaited;
use self::verdict::{again, lost};
use crate::broker::{
    BrokerError, BrokerErrorKind, Decision, Member, Outgoing, Producer, Result, TopicPartition, TransactionProtocol,
};
use crate::kafka::member::KafkaMember;
use crate::kafka::partitions::{Numbering, partition_number};
use crate::kafka::wire::cluster::Cluster;
use crate::kafka::wire::connection::Until;

/// A coordinator may have to end what a predecessor left open, and a fresh cluster makes its transaction log first.
const OPEN_DEADLINE: Duration = Duration::from_secs(60);
/// While records are written no longer than this is waited for a leader.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// The feature of the cluster that stands for the protocol, and its level.
const FEATURE: &str = "transaction.version";
const FEATURE_LEVEL: i16 = 2;
/// So much is gathered before it is sent while the transaction goes on.
const GATHERED_BYTES_MAX: usize = 512 * 1024;

/// What the cluster speaks, as this broker of it says.
pub(super) fn protocol_of(cluster: &mut Cluster, broker: &str) -> Result<TransactionProtocol> {
    let until = cluster.until();
    let level = cluster.with(broker, |connection| connection.feature_level(FEATURE, until))?;
    Ok(if level < FEATURE_LEVEL { TransactionProtocol::First } else { TransactionProtocol::Second })
}

/// Who sends offsets: a member of the group, or nobody where the group has no members.
pub(in crate::kafka) struct Fence {
    pub(in crate::kafka) group: String,
    pub(in crate::kafka) generation: i32,
    pub(in crate::kafka) member: String,
    pub(in crate::kafka) instance: Option<String>,
}

pub(in crate::kafka) struct TransactionalProducer {
    /// For questions that are answered at once, and the end of the transaction.
    cluster: Cluster,
    /// For records, of which several requests may be under way.
    lines: Cluster,
    id: TransactionalId,
    compression: Compression,
    identity: Identity,
    coordinator: String,
    /// Coordinators of groups.
    group_coordinators: BTreeMap<String, String>,
    leaders: BTreeMap<TopicPartition, String>,
    numbering: Numbering,
    lanes: Vec<Lane>,
    awaited: BTreeMap<String, VecDeque<Awaited>>,
    gathered_bytes: usize,
    /// The coordinator may know of the transaction.
    is_announced: bool,
    /// What the transaction failed of.
    failure: Option<BrokerError>,
    lost_before: u32,
}

impl TransactionalProducer {
    /// `None` where the cluster does not speak this protocol.
    pub(in crate::kafka) fn open(
        bootstrap: &[String],
        id: &str,
        timeout: Duration,
        compression: Compression,
    ) -> Result<Option<Self>> {
        let mut cluster = Cluster::new(bootstrap, Until::within("open a producer", OPEN_DEADLINE));
        let id = TransactionalId(StrBytes::from_string(id.to_owned()));
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id.clone()))
            .with_transaction_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let opened = again(&mut cluster, |cluster| {
            let coordinator = cluster.coordinator_of_transactions(&id)?;
            if protocol_of(cluster, &coordinator)? == TransactionProtocol::First {
                return Ok(None);
            }
            let answer = cluster.call(&coordinator, &request)?;
            cluster.check(answer.error_code, format_args!("transactional id `{}`", id.as_str()))?;
            Ok(Some((coordinator, Identity { producer_id: answer.producer_id.0, epoch: answer.producer_epoch })))
        })?;
        let Some((coordinator, identity)) = opened else { return Ok(None) };
        Ok(Some(Self {
            lines: Cluster::new(bootstrap, cluster.until()),
            lost_before: cluster.lost(),
            cluster,
            id,
            compression,
            identity,
            coordinator,
            group_coordinators: BTreeMap::new(),
            leaders: BTreeMap::new(),
            numbering: Numbering::default(),
            lanes: Vec::new(),
            awaited: BTreeMap::new(),
            gathered_bytes: 0,
            is_announced: false,
            failure: None,
        }))
    }

    /// After a failure there is nothing to be done with the transaction but to abort it.
    fn guard<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        act(self).inspect_err(|error| self.failure = Some(error.clone()))
    }
}

impl Producer for TransactionalProducer {
    fn send(&mut self, record: &Outgoing<'_>) -> Result<()> {
        let number = partition_number(record.partition)?;
        let index = self.numbering.number_or_add(record.topic, record.partition);
        if index == self.lanes.len() {
            self.lanes.push(Lane::new(TopicPartition::new(record.topic, record.partition), number));
        }
        self.gathered_bytes += self.lanes[index].push(record, self.identity, self.compression);
        if self.gathered_bytes < GATHERED_BYTES_MAX {
            return Ok(());
        }
        self.cluster.renew(Until::within("send", SEND_DEADLINE));
        self.guard(|producer| {
            producer.make_room()?;
            producer.send_gathered()
        })
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.cluster.renew(Until::within("flush", deadline));
        self.guard(Self::drain).map_err(lost)
    }

    fn begin(&mut self) -> Result<()> {
        self.failure = None;
        Ok(())
    }

    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, u64)],
        member: &dyn Member,
        deadline: Duration,
    ) -> Result<()> {
        let Some(member) = member.as_any().downcast_ref::<KafkaMember>() else {
            let message = "the member belongs to another broker";
            return Err(BrokerError::new(BrokerErrorKind::Misconfigured, "send offsets", message));
        };
        self.cluster.renew(Until::within("send offsets", deadline));
        self.guard(|producer| producer.send_offsets_of(offsets, &member.fence_by_name()?)).map_err(lost)
    }

    fn send_group_offsets(&mut self, group: &str, offsets: &[(TopicPartition, u64)], deadline: Duration) -> Result<()> {
        let fence = Fence { group: group.to_owned(), generation: -1, member: String::new(), instance: None };
        self.cluster.renew(Until::within("send offsets", deadline));
        self.guard(|producer| producer.send_offsets_of(offsets, &fence)).map_err(lost)
    }

    fn commit(&mut self, deadline: Duration) -> Result<()> {
        self.cluster.renew(Until::within("commit", deadline));
        self.guard(|producer| {
            producer.drain()?;
            producer.end(Decision::Commit)
        })
    }

    fn abort(&mut self, deadline: Duration) -> Result<()> {
        self.cluster.renew(Until::within("abort", deadline));
        self.forget_awaited();
        self.failure = None;
        self.end(Decision::Abort)
    }

    fn is_doubtful(&mut self) -> bool {
        self.cluster.lost() + self.lines.lost() != self.lost_before
    }

    fn acknowledged(&self, partition: &TopicPartition) -> Option<u64> {
        let number = self.numbering.number(&partition.topic, partition.partition)?;
        self.lanes.get(number)?.next_offset
    }
}
