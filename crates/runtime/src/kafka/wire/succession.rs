//! What whoever succeeds a producer asks: how the coordinator ended its last transaction, and what leaders hold open of it.
//!
//! A coordinator that starts beside its cluster takes partitions whose leaders it does not know yet for deleted, and
//! writes no markers there. So it is not made to end anything before it knows them all.

use std::collections::BTreeSet;

use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{DescribeTransactionsRequest, InitProducerIdRequest, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use rdkafka::error::RDKafkaErrorCode;

use crate::broker::{
    Decision, LastTransaction, OpenTransaction, Result, TopicPartition, TransactionPhase, TransactionProtocol,
};
use crate::kafka::wire::cluster::{Cluster, error_of};
use crate::kafka::wire::producer;
use crate::kafka::wire::producer::batch::Compression;
use crate::kafka::wire::transactions::{self, TRANSACTIONAL_ID_NOT_FOUND};

/// Where groups keep their positions, which are part of the transactions that move them.
const GROUP_OFFSETS_TOPIC: &str = "__consumer_offsets";
const RUNNING: &str = "Ongoing";

/// `compression` is what producers are opened with: not all of them speak the second protocol.
pub(super) fn last_transaction(
    cluster: &mut Cluster,
    transactional_id: &str,
    compression: Option<Compression>,
) -> Result<Option<LastTransaction>> {
    let Some(state) = state_of(cluster, transactional_id)? else { return Ok(None) };
    let protocol = match compression {
        None => TransactionProtocol::First,
        Some(_) => {
            let coordinator = cluster.coordinator_of_transactions(transactional_id)?;
            producer::protocol_of(cluster, &coordinator)?
        }
    };
    Ok(Some(LastTransaction {
        protocol,
        producer_id: state.producer_id.0,
        producer_epoch: state.producer_epoch,
        phase: phase(state.transaction_state.as_str()),
    }))
}

fn phase(state: &str) -> TransactionPhase {
    match state {
        "Empty" => TransactionPhase::Forgotten,
        RUNNING => TransactionPhase::Running,
        "CompleteCommit" => TransactionPhase::Ended(Decision::Commit),
        "CompleteAbort" => TransactionPhase::Ended(Decision::Abort),
        _ => TransactionPhase::Ending,
    }
}

/// The first half of what a producer does that opens. The second half would make the coordinator forget, so the state is
/// looked at once more, on the same connection: a coordinator that has ended the transaction meanwhile is left alone.
pub(super) fn abort_running(cluster: &mut Cluster, transactional_id: &str) -> Result<()> {
    let coordinator = cluster.coordinator_of_transactions(transactional_id)?;
    let Some(state) = state_of(cluster, transactional_id)? else { return Ok(()) };
    if state.transaction_state.as_str() != RUNNING {
        return Ok(());
    }
    let written = state.topics.iter().map(|topic| topic.topic.as_str()).collect();
    cluster.layout_at(&coordinator, &written)?;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id(transactional_id)))
        .with_transaction_timeout_ms(state.transaction_timeout_ms)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let code = cluster.call(&coordinator, &request)?.error_code;
    if error_of(code) == Some(RDKafkaErrorCode::ConcurrentTransactions) {
        return Ok(());
    }
    cluster.check(code, format_args!("transactional id `{transactional_id}`"))
}

pub(super) fn check_leaders(cluster: &mut Cluster, transactional_id: &str, topics: &[String]) -> Result<()> {
    let coordinator = cluster.coordinator_of_transactions(transactional_id)?;
    cluster.layout_at(&coordinator, &written_by(topics)).map(|_| ())
}

pub(super) fn open_of_producer(
    cluster: &mut Cluster,
    producer_id: i64,
    topics: &[String],
) -> Result<Vec<OpenTransaction>> {
    let written: Vec<TopicPartition> = cluster.layout(&written_by(topics))?.leaders.into_keys().collect();
    let mut open = transactions::on_leaders(cluster, &written)?;
    open.retain(|transaction| transaction.producer_id == producer_id);
    Ok(open)
}

fn written_by(topics: &[String]) -> BTreeSet<&str> {
    topics.iter().map(String::as_str).chain([GROUP_OFFSETS_TOPIC]).collect()
}

/// What the coordinator says of the id now; nothing of one that it does not know.
pub(super) fn state_of(cluster: &mut Cluster, transactional_id: &str) -> Result<Option<TransactionState>> {
    let coordinator = cluster.coordinator_of_transactions(transactional_id)?;
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![id(transactional_id)]);
    let Some(state) = cluster.call(&coordinator, &request)?.transaction_states.into_iter().next() else {
        return Err(cluster.until().passing("the coordinator says nothing"));
    };
    if state.error_code == TRANSACTIONAL_ID_NOT_FOUND {
        return Ok(None);
    }
    cluster.check(state.error_code, format_args!("transactional id `{transactional_id}`"))?;
    Ok(Some(state))
}

fn id(transactional_id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(transactional_id.to_owned()))
}
