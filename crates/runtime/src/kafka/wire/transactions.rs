//! Open transactions: what the leaders of partitions say, beside what the coordinators know.
//!
//! A transaction hangs where a leader holds it open and no coordinator has the partition on its list: nothing will ever
//! end it. What runs can end between one question and the next, so the leaders are asked before and after the
//! coordinators, and only what both answers have in common is told.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, ListTransactionsRequest, ProducerId, TopicName,
    TransactionalId, WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::broker::{Decision, OpenTransaction, Result, Standing, TopicPartition};
use crate::kafka::partitions::partition_number;
use crate::kafka::wire::cluster::{Cluster, Layout};

/// Where coordinators keep what they know; each of its partitions belongs to one of them.
const COORDINATORS_TOPIC: &str = "__transaction_state";
/// `TRANSACTIONAL_ID_NOT_FOUND`, which librdkafka has no name for.
pub(super) const TRANSACTIONAL_ID_NOT_FOUND: i16 = 105;

/// What a coordinator knows of a producer.
struct Coordinated {
    transactional_id: String,
    producer_id: i64,
    standing: Standing,
    partitions: BTreeSet<TopicPartition>,
}

pub(super) fn open_transactions(cluster: &mut Cluster, partitions: &[TopicPartition]) -> Result<Vec<OpenTransaction>> {
    let first = on_leaders(cluster, partitions)?;
    if first.is_empty() {
        return Ok(first);
    }
    let producers: BTreeSet<i64> = first.iter().map(|transaction| transaction.producer_id).collect();
    let known = on_coordinators(cluster, &producers)?;
    let held: BTreeSet<TopicPartition> = first.iter().map(|transaction| transaction.partition.clone()).collect();
    let held: Vec<TopicPartition> = held.into_iter().collect();
    let mut open = on_leaders(cluster, &held)?;
    open.retain(|transaction| first.iter().any(|before| before.is_same(transaction)));
    for transaction in &mut open {
        judge(transaction, &known);
    }
    Ok(open)
}

fn judge(transaction: &mut OpenTransaction, known: &[Coordinated]) {
    for coordinated in known.iter().filter(|coordinated| coordinated.producer_id == transaction.producer_id) {
        transaction.transactional_id = Some(coordinated.transactional_id.clone());
        if coordinated.partitions.contains(&transaction.partition) {
            transaction.standing = coordinated.standing.clone();
            return;
        }
    }
}

/// The transactions that leaders hold open, none of them judged yet.
pub(super) fn on_leaders(cluster: &mut Cluster, partitions: &[TopicPartition]) -> Result<Vec<OpenTransaction>> {
    let layout = layout_of(cluster, partitions.iter())?;
    let mut open = Vec::new();
    for (leader, led) in layout.by_leader(partitions.iter()) {
        let topics = by_topic(led.into_iter())?;
        let topic = |(name, numbers)| TopicRequest::default().with_name(name).with_partition_indexes(numbers);
        let request = DescribeProducersRequest::default().with_topics(topics.into_iter().map(topic).collect());
        for topic in cluster.call(&leader, &request)?.topics {
            for answer in topic.partitions {
                let number = u32::try_from(answer.partition_index).unwrap_or_default();
                let partition = TopicPartition::new(topic.name.as_str(), number);
                cluster.check(answer.error_code, format_args!("producers of {}-{number}", partition.topic))?;
                for producer in answer.active_producers {
                    let Ok(start_offset) = u64::try_from(producer.current_txn_start_offset) else { continue };
                    open.push(OpenTransaction {
                        partition: partition.clone(),
                        producer_id: producer.producer_id.0,
                        producer_epoch: i16::try_from(producer.producer_epoch).unwrap_or(i16::MAX),
                        coordinator_epoch: producer.coordinator_epoch,
                        start_offset,
                        last_timestamp_ms: producer.last_timestamp,
                        transactional_id: None,
                        standing: Standing::Hanging,
                    });
                }
            }
        }
    }
    open.sort_by(|one, other| (&one.partition, one.start_offset).cmp(&(&other.partition, other.start_offset)));
    Ok(open)
}

/// Everything that any coordinator knows of these producers. An error while one of them cannot say: what is not known
/// must not count as hanging.
fn on_coordinators(cluster: &mut Cluster, producers: &BTreeSet<i64>) -> Result<Vec<Coordinated>> {
    let brokers = cluster.layout(&BTreeSet::from([COORDINATORS_TOPIC]))?.brokers;
    let filter = producers.iter().copied().map(ProducerId).collect();
    let list = ListTransactionsRequest::default().with_producer_id_filters(filter);
    let mut known = Vec::new();
    for broker in brokers {
        let listed = cluster.call(&broker, &list)?;
        cluster.check(listed.error_code, format_args!("transactions coordinated by {broker}"))?;
        let ids: Vec<TransactionalId> =
            listed.transaction_states.into_iter().map(|state| state.transactional_id).collect();
        if ids.is_empty() {
            continue;
        }
        let describe = DescribeTransactionsRequest::default().with_transactional_ids(ids);
        for state in cluster.call(&broker, &describe)?.transaction_states {
            if state.error_code == TRANSACTIONAL_ID_NOT_FOUND {
                continue;
            }
            cluster.check(state.error_code, format_args!("transactional id `{}`", state.transactional_id.as_str()))?;
            known.push(coordinated(state));
        }
    }
    Ok(known)
}

fn coordinated(state: TransactionState) -> Coordinated {
    let partitions = state.topics.iter().flat_map(|topic| {
        let numbers = topic.partitions.iter().filter_map(|number| u32::try_from(*number).ok());
        numbers.map(|number| TopicPartition::new(topic.topic.as_str(), number))
    });
    Coordinated {
        transactional_id: state.transactional_id.as_str().to_owned(),
        producer_id: state.producer_id.0,
        partitions: partitions.collect(),
        standing: Standing::Running {
            state: state.transaction_state.as_str().to_owned(),
            started_at_ms: state.transaction_start_time_ms,
            timeout_ms: i64::from(state.transaction_timeout_ms),
        },
    }
}

/// Writes markers for those that are still open, and is done when none is.
pub(super) fn end(cluster: &mut Cluster, transactions: &[OpenTransaction], decision: Decision) -> Result<()> {
    let partitions: BTreeSet<TopicPartition> = transactions.iter().map(|one| one.partition.clone()).collect();
    let partitions: Vec<TopicPartition> = partitions.into_iter().collect();
    let is_meant = |found: &OpenTransaction| transactions.iter().any(|one| one.is_same(found));
    let mut open = on_leaders(cluster, &partitions)?;
    open.retain(is_meant);
    let layout = layout_of(cluster, partitions.iter())?;
    let mut by_producer: BTreeMap<(i64, i16, i32), Vec<&TopicPartition>> = BTreeMap::new();
    for one in &open {
        let producer = (one.producer_id, one.producer_epoch, one.coordinator_epoch);
        by_producer.entry(producer).or_default().push(&one.partition);
    }
    for ((producer_id, producer_epoch, coordinator_epoch), partitions) in by_producer {
        for (leader, led) in layout.by_leader(partitions.into_iter()) {
            let topic =
                |(name, numbers)| WritableTxnMarkerTopic::default().with_name(name).with_partition_indexes(numbers);
            let marker = WritableTxnMarker::default()
                .with_producer_id(ProducerId(producer_id))
                .with_producer_epoch(producer_epoch)
                .with_transaction_result(decision == Decision::Commit)
                .with_topics(by_topic(led.into_iter())?.into_iter().map(topic).collect())
                // A producer whose first transaction hangs has seen no coordinator yet. 0 is not above any real one.
                .with_coordinator_epoch(coordinator_epoch.max(0));
            let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
            for topic in cluster.call(&leader, &request)?.markers.into_iter().flat_map(|marker| marker.topics) {
                for partition in topic.partitions {
                    let about = format_args!(
                        "{} marker for {}-{}",
                        decision.name(),
                        topic.name.as_str(),
                        partition.partition_index
                    );
                    cluster.check(partition.error_code, about)?;
                }
            }
        }
    }
    if on_leaders(cluster, &partitions)?.iter().any(is_meant) {
        return Err(cluster.until().passing("the markers are written, and not all partitions have acted on them yet"));
    }
    Ok(())
}

fn layout_of<'a>(cluster: &mut Cluster, partitions: impl Iterator<Item = &'a TopicPartition>) -> Result<Layout> {
    cluster.layout(&partitions.map(|partition| partition.topic.as_ref()).collect())
}

fn by_topic<'a>(partitions: impl Iterator<Item = &'a TopicPartition>) -> Result<BTreeMap<TopicName, Vec<i32>>> {
    let mut by_topic: BTreeMap<TopicName, Vec<i32>> = BTreeMap::new();
    for TopicPartition { topic, partition } in partitions {
        let name = TopicName(StrBytes::from_string(topic.to_string()));
        by_topic.entry(name).or_default().push(partition_number(*partition)?);
    }
    Ok(by_topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(partition: u32, producer_id: i64) -> OpenTransaction {
        OpenTransaction {
            partition: TopicPartition::new("log", partition),
            producer_id,
            producer_epoch: 0,
            coordinator_epoch: -1,
            start_offset: 7,
            last_timestamp_ms: 0,
            transactional_id: None,
            standing: Standing::Hanging,
        }
    }

    #[test]
    fn hanging_is_what_no_coordinator_has_on_its_list_for_the_partition() {
        let running = Standing::Running { state: "Ongoing".to_owned(), started_at_ms: 1, timeout_ms: 2 };
        let known = [Coordinated {
            transactional_id: "slot".to_owned(),
            producer_id: 4,
            standing: running.clone(),
            partitions: BTreeSet::from([TopicPartition::new("log", 0)]),
        }];
        let table = [
            ("its coordinator runs it here", open(0, 4), running, Some("slot")),
            ("its coordinator knows the producer, but not here", open(1, 4), Standing::Hanging, Some("slot")),
            ("nobody knows the producer", open(0, 5), Standing::Hanging, None),
        ];
        for (case, mut transaction, standing, id) in table {
            judge(&mut transaction, &known);
            assert_eq!(transaction.standing, standing, "{case}");
            assert_eq!(transaction.transactional_id.as_deref(), id, "{case}");
        }
    }
}
