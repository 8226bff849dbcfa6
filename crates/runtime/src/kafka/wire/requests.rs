//! The closed list of requests that are made by hand, with the versions in which their fields mean what is meant here.

use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    EndTxnRequest, EndTxnResponse, FetchRequest, FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    InitProducerIdRequest, InitProducerIdResponse, LeaveGroupRequest, LeaveGroupResponse, ListTransactionsRequest,
    ListTransactionsResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, VersionRange};

pub(super) trait Call: Encodable + HeaderVersion {
    type Answer: Decodable + HeaderVersion;
    const KEY: ApiKey;
    const VERSIONS: VersionRange;
}

macro_rules! calls {
    ($($key:ident: $request:ident -> $answer:ident, $min:literal to $max:literal;)+) => {
        $(impl $crate::kafka::wire::requests::Call for $request {
            type Answer = $answer;
            const KEY: kafka_protocol::messages::ApiKey = kafka_protocol::messages::ApiKey::$key;
            const VERSIONS: kafka_protocol::protocol::VersionRange =
                kafka_protocol::protocol::VersionRange { min: $min, max: $max };
        })+
    };
}

#[cfg(feature = "conformance")]
pub(super) use calls;

calls! {
    // Every broker answers version 0; from 3 on it tells the features of the cluster.
    ApiVersions: ApiVersionsRequest -> ApiVersionsResponse, 0 to 3;
    // From 4 on topics are not created by asking for them.
    Metadata: MetadataRequest -> MetadataResponse, 4 to 12;
    // From 4 on it asks for several at once.
    FindCoordinator: FindCoordinatorRequest -> FindCoordinatorResponse, 1 to 3;
    // From 3 on it knows static members.
    LeaveGroup: LeaveGroupRequest -> LeaveGroupResponse, 3 to 5;
    // From 4 on it tells the names of static members.
    DescribeGroups: DescribeGroupsRequest -> DescribeGroupsResponse, 4 to 5;
    ListTransactions: ListTransactionsRequest -> ListTransactionsResponse, 0 to 1;
    DescribeTransactions: DescribeTransactionsRequest -> DescribeTransactionsResponse, 0 to 0;
    DescribeProducers: DescribeProducersRequest -> DescribeProducersResponse, 0 to 0;
    // From 2 on an open transaction is ended before the answer, and from 3 on a producer can name itself.
    InitProducerId: InitProducerIdRequest -> InitProducerIdResponse, 2 to 4;
    WriteTxnMarkers: WriteTxnMarkersRequest -> WriteTxnMarkersResponse, 1 to 1;
    // From 13 on topics have numbers instead of names.
    Fetch: FetchRequest -> FetchResponse, 4 to 12;
    // Kafka's second transaction protocol: what is written adds itself to the transaction, and every end of one begins
    // another epoch.
    Produce: ProduceRequest -> ProduceResponse, 12 to 12;
    TxnOffsetCommit: TxnOffsetCommitRequest -> TxnOffsetCommitResponse, 5 to 5;
    EndTxn: EndTxnRequest -> EndTxnResponse, 5 to 5;
}
