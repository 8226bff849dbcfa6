//! What tests do to a cluster that no client of good will can do: transactions that hang, and group offsets that are gone.

use std::time::Duration;

use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    GroupId, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, InitProducerIdRequest,
    OffsetDeleteRequest, OffsetDeleteResponse, ProduceRequest, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use rdkafka::error::RDKafkaErrorCode;

use super::Wire;
use super::cluster::{Cluster, error_of};
use super::connection::Until;
use super::succession::state_of;
use crate::broker::{Result, TopicPartition};
use crate::kafka::settings::Settings;

super::requests::calls! {
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest -> IncrementalAlterConfigsResponse, 0 to 1;
    OffsetDelete: OffsetDeleteRequest -> OffsetDeleteResponse, 0 to 0;
}

const DEADLINE: Duration = Duration::from_secs(30);
/// In this version a leader does not add the partition to the transaction by itself.
const UNANNOUNCED_PRODUCE: i16 = 8;
const TRANSACTION_TIMEOUT_MS: i32 = 10_000;
/// A broker that checks this refuses what hangs.
const VERIFICATION: &str = "transaction.partition.verification.enable";
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;

/// A cluster to be damaged.
pub struct Damage {
    wire: Wire,
}

impl Damage {
    /// # Errors
    /// If the address cannot be one of a broker.
    pub fn new(bootstrap: &str) -> Result<Self> {
        Ok(Self { wire: Wire::new(&Settings::new(bootstrap, &std::collections::BTreeMap::new())?) })
    }

    /// Leaves a transaction hanging on these partitions: each gets one record of it, and its coordinator hears of none.
    /// Returns the producer's id. The broker's guard against this is off meanwhile, for the whole cluster.
    pub fn hang(&self, transactional_id: &str, partitions: &[TopicPartition]) -> Result<i64> {
        let id = || TransactionalId(StrBytes::from_string(transactional_id.to_owned()));
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(id()))
            .with_transaction_timeout_ms(TRANSACTION_TIMEOUT_MS)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let until = Until::within("leave a transaction hanging", DEADLINE);
        let producer = self.wire.run(until, |cluster| {
            let coordinator = cluster.coordinator_of_transactions(transactional_id)?;
            let answer = cluster.call(&coordinator, &init)?;
            cluster.check(answer.error_code, "a producer id")?;
            Ok((answer.producer_id.0, answer.producer_epoch))
        })?;
        self.write_all(until, transactional_id, producer, partitions)?;
        Ok(producer.0)
    }

    /// Gives each partition a record of the id's last transaction, which its coordinator ended or is going to end without
    /// them; `epochs_before` the coordinator's epoch. Returns the state that the coordinator is in.
    pub fn leave_open(
        &self,
        transactional_id: &str,
        epochs_before: i16,
        partitions: &[TopicPartition],
    ) -> Result<String> {
        let until = Until::within("leave a transaction open", DEADLINE);
        let (state, producer) = self.wire.run(until, |cluster| {
            let Some(state) = state_of(cluster, transactional_id)? else {
                return Err(cluster.until().fatal(format!("`{transactional_id}` is not known")));
            };
            let name = state.transaction_state.as_str().to_owned();
            if name.starts_with("Prepare") {
                return Err(cluster.until().passing(name));
            }
            Ok((name, (state.producer_id.0, state.producer_epoch - epochs_before)))
        })?;
        self.write_all(until, transactional_id, producer, partitions)?;
        Ok(state)
    }

    fn write_all(
        &self,
        until: Until,
        transactional_id: &str,
        producer: (i64, i16),
        partitions: &[TopicPartition],
    ) -> Result<()> {
        let id = || TransactionalId(StrBytes::from_string(transactional_id.to_owned()));
        let written = partitions.iter().try_for_each(|partition| {
            self.wire.run(until, |cluster| {
                // Set anew each time: another test may have put it back.
                verification(cluster, SET, Some("false"))?;
                write(cluster, id(), producer, partition)
            })
        });
        self.wire.run(until, |cluster| verification(cluster, DELETE, None))?;
        written
    }

    /// Removes the group's offsets of these partitions, whether it has members or not.
    pub fn delete_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<()> {
        let topic = |partition: &TopicPartition| {
            let number = i32::try_from(partition.partition).unwrap_or_default();
            OffsetDeleteRequestTopic::default()
                .with_name(TopicName(StrBytes::from_string(partition.topic.to_string())))
                .with_partitions(vec![OffsetDeleteRequestPartition::default().with_partition_index(number)])
        };
        self.wire.run(Until::within("delete group offsets", DEADLINE), |cluster| {
            let coordinator = cluster.coordinator_of_group(group)?;
            for partition in partitions {
                let request = OffsetDeleteRequest::default()
                    .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
                    .with_topics(vec![topic(partition)]);
                let answer = cluster.call(&coordinator, &request)?;
                cluster.check(answer.error_code, group)?;
                for deleted in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                    cluster.check(deleted.error_code, format_args!("{group}: {}", partition.topic))?;
                }
            }
            Ok(())
        })
    }
}

fn write(
    cluster: &mut Cluster,
    id: TransactionalId,
    (producer_id, producer_epoch): (i64, i16),
    partition: &TopicPartition,
) -> Result<()> {
    let about = format!("{}-{}", partition.topic, partition.partition);
    let record = Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id,
        producer_epoch,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: 0,
        timestamp: 1_700_000_000_000,
        key: Some(b"hanging".to_vec().into()),
        value: Some(b"nobody may ever read this".to_vec().into()),
        headers: Default::default(),
    };
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut records = Vec::new();
    let encoded = RecordBatchEncoder::encode(&mut records, [&record], &options);
    encoded.map_err(|error| cluster.until().fatal(error.to_string()))?;
    let data = PartitionProduceData::default()
        .with_index(i32::try_from(partition.partition).unwrap_or_default())
        .with_records(Some(records.into()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(partition.topic.to_string())))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(Some(id))
        .with_acks(-1)
        .with_timeout_ms(5_000)
        .with_topic_data(vec![topic]);
    let layout = cluster.layout(&[partition.topic.as_ref()].into())?;
    let Some(leader) = layout.leaders.get(partition) else { return Err(cluster.until().fatal(about)) };
    let answer = cluster.call_in(leader, &request, UNANNOUNCED_PRODUCE)?;
    for written in answer.responses.iter().flat_map(|topic| &topic.partition_responses) {
        // The broker has not heard yet that its guard is off.
        let of_the_guard = [RDKafkaErrorCode::InvalidTransactionalState, RDKafkaErrorCode::InvalidProducerEpoch];
        if error_of(written.error_code).is_some_and(|code| of_the_guard.contains(&code)) {
            return Err(cluster.until().passing("the broker still verifies"));
        }
        cluster.check(written.error_code, &about)?;
    }
    Ok(())
}

fn verification(cluster: &mut Cluster, operation: i8, value: Option<&'static str>) -> Result<()> {
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str(VERIFICATION))
        .with_config_operation(operation)
        .with_value(value.map(StrBytes::from_static_str));
    // No name: for all brokers of the cluster.
    let resource = AlterConfigsResource::default().with_resource_type(BROKER).with_configs(vec![config]);
    let answer = cluster.call_any(&IncrementalAlterConfigsRequest::default().with_resources(vec![resource]))?;
    answer.responses.iter().try_for_each(|response| cluster.check(response.error_code, VERIFICATION))
}
