//! What a transactional id has left open: data on partitions that its coordinator no longer counts among them.
//!
//! A coordinator that starts beside its cluster takes partitions whose leaders it does not know yet for deleted, and
//! writes no markers there. It remembers how it ended the transaction until a producer of the id opens, so whoever is
//! about to open one is the last who can ask.

use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{DescribeTransactionsRequest, InitProducerIdRequest, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use rdkafka::error::RDKafkaErrorCode;

use crate::broker::{Decision, LeftOpen, Result, TopicPartition};
use crate::kafka::wire::cluster::{Cluster, error_of};
use crate::kafka::wire::producer::Protocol;
use crate::kafka::wire::producer::batch::Compression;
use crate::kafka::wire::transactions::{self, TRANSACTIONAL_ID_NOT_FOUND};

/// Where groups keep their positions, which are part of the transactions that move them.
const GROUP_OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Fails with an error that passes while the coordinator has not ended the last transaction.
///
/// `compression` is what producers are opened with: not all of them speak the second protocol.
pub(super) fn settle(
    cluster: &mut Cluster,
    transactional_id: &str,
    topics: &[String],
    compression: Option<Compression>,
) -> Result<Vec<LeftOpen>> {
    let Some(state) = state_of(cluster, transactional_id)? else { return Ok(Vec::new()) };
    match state.transaction_state.as_str() {
        "Empty" | "CompleteCommit" | "CompleteAbort" => {}
        "Ongoing" => {
            fence(cluster, transactional_id, state.transaction_timeout_ms)?;
            return Err(cluster.until().passing(format!("`{transactional_id}` was running and is being aborted")));
        }
        ending => {
            return Err(cluster.until().passing(format!("the transaction of `{transactional_id}` is in {ending}")));
        }
    }
    let names = topics.iter().map(String::as_str).chain([GROUP_OFFSETS_TOPIC]).collect();
    let written: Vec<TopicPartition> = cluster.layout(&names)?.leaders.into_keys().collect();
    let mut open = transactions::on_leaders(cluster, &written)?;
    open.retain(|transaction| transaction.producer_id == state.producer_id.0);
    let protocol = match compression {
        Some(_) if !open.is_empty() => {
            let coordinator = cluster.coordinator_of_transactions(transactional_id)?;
            Protocol::of(cluster, &coordinator)?
        }
        _ => Protocol::First,
    };
    let left = open.into_iter().map(|mut transaction| {
        transaction.transactional_id = Some(transactional_id.to_owned());
        let name = state.transaction_state.as_str();
        let decision = decision(protocol, name, state.producer_epoch, transaction.producer_epoch);
        LeftOpen { transaction, decision }
    });
    Ok(left.collect())
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

/// Has the coordinator abort what is running, by the first half of what a producer does that opens. The second half would
/// make it forget the decision, which may have been the other one if the producer was faster.
fn fence(cluster: &mut Cluster, transactional_id: &str, timeout_ms: i32) -> Result<()> {
    let coordinator = cluster.coordinator_of_transactions(transactional_id)?;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id(transactional_id)))
        .with_transaction_timeout_ms(timeout_ms)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let code = cluster.call(&coordinator, &request)?.error_code;
    if error_of(code) == Some(RDKafkaErrorCode::ConcurrentTransactions) {
        return Ok(());
    }
    cluster.check(code, format_args!("transactional id `{transactional_id}`"))
}

/// How data of the epoch `open` was ended by a coordinator whose last transaction ended in `state` with the epoch `ended`.
///
/// In the first protocol an epoch holds many transactions, and all but the last were committed, because a worker opens
/// another producer after an abort. In the second it holds one, and its end begins the next. A transaction that the
/// coordinator aborts over the head of its producer ends one epoch later still.
fn decision(protocol: Protocol, state: &str, ended: i16, open: i16) -> Option<Decision> {
    match (protocol, state, ended.checked_sub(open)?) {
        (Protocol::First, "CompleteCommit", 0) | (Protocol::Second, "CompleteCommit", 1) => Some(Decision::Commit),
        (Protocol::First, "CompleteAbort", 0 | 1) | (Protocol::Second, "CompleteAbort", 1 | 2) => Some(Decision::Abort),
        _ => None,
    }
}

fn id(transactional_id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(transactional_id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_coordinator_remembers_is_decided() {
        let (commit, abort) = (Some(Decision::Commit), Some(Decision::Abort));
        let table = [
            ("CompleteCommit", 4, 4, commit, None),
            ("CompleteCommit", 4, 3, None, commit),
            ("CompleteCommit", 4, 2, None, None),
            ("CompleteCommit", 4, 5, None, None),
            ("CompleteAbort", 4, 4, abort, None),
            ("CompleteAbort", 4, 3, abort, abort),
            ("CompleteAbort", 4, 2, None, abort),
            ("CompleteAbort", 4, 1, None, None),
            ("CompleteAbort", 4, 5, None, None),
            ("Empty", 4, 4, None, None),
            ("Empty", 4, 3, None, None),
            ("CompleteCommit", i16::MIN, i16::MAX, None, None),
        ];
        for (state, ended, open, first, second) in table {
            let about = format!("{state} at {ended}, open at {open}");
            assert_eq!(decision(Protocol::First, state, ended, open), first, "{about}");
            assert_eq!(decision(Protocol::Second, state, ended, open), second, "{about}");
        }
    }
}
