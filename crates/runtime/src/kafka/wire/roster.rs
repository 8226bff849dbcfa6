//! Who is in a group of classic consumers, as its coordinator tells.

use std::collections::BTreeSet;

use kafka_protocol::messages::describe_groups_response::DescribedGroupMember;
use kafka_protocol::messages::{ConsumerProtocolAssignment, DescribeGroupsRequest, GroupId};
use kafka_protocol::protocol::{Decodable, StrBytes};

use crate::broker::{BrokerError, BrokerErrorKind, Result, Roster, RosterMember};
use crate::kafka::wire::cluster::Cluster;

/// The state in which every member knows what it owns.
const STABLE: &str = "Stable";

/// `None` while the group is in no such state, or does not exist.
pub(super) fn roster(cluster: &mut Cluster, group: &str, tasks_topic: &str) -> Result<Option<Roster>> {
    let coordinator = cluster.coordinator_of_group(group)?;
    let name = GroupId(StrBytes::from_string(group.to_owned()));
    let answer = cluster.call(&coordinator, &DescribeGroupsRequest::default().with_groups(vec![name]))?;
    let Some(described) = answer.groups.into_iter().next() else { return Ok(None) };
    cluster.check(described.error_code, format_args!("group `{group}`"))?;
    if described.group_state.as_str() != STABLE {
        return Ok(None);
    }
    described.members.into_iter().map(|member| entry(member, tasks_topic)).collect::<Result<_>>().map(Some)
}

fn entry(member: DescribedGroupMember, tasks_topic: &str) -> Result<RosterMember> {
    // A member without a name of its own is none of ours, and has an instance of nobody.
    let slot = member.group_instance_id.unwrap_or(member.member_id).to_string();
    Ok(RosterMember { tasks: assigned(&member.member_assignment, tasks_topic)?, slot })
}

/// An assignment is its version and then the message in that version; nothing at all for a member without one.
fn assigned(bytes: &[u8], tasks_topic: &str) -> Result<BTreeSet<u32>> {
    if bytes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let unreadable = |message: String| BrokerError::new(BrokerErrorKind::Fatal, "read an assignment", message);
    let (version, mut message) = bytes.split_first_chunk().ok_or_else(|| unreadable("it ends early".to_owned()))?;
    let assignment = ConsumerProtocolAssignment::decode(&mut message, i16::from_be_bytes(*version).clamp(0, 3))
        .map_err(|error| unreadable(error.to_string()))?;
    let of_topic = assignment.assigned_partitions.iter().filter(|assigned| assigned.topic.as_str() == tasks_topic);
    Ok(of_topic.flat_map(|assigned| &assigned.partitions).filter_map(|number| u32::try_from(*number).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_in_its_version() {
        // Version 1, one topic `t` with partitions 2 and 5, no user data.
        let bytes = b"\0\x01\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\x02\0\0\0\x05\xff\xff\xff\xff";
        assert_eq!(assigned(bytes, "t").expect("it is whole"), BTreeSet::from([2, 5]));
        assert_eq!(assigned(bytes, "another").expect("it is whole"), BTreeSet::new());
        assert_eq!(assigned(b"", "t").expect("nothing is assigned"), BTreeSet::new());
        for length in 1..bytes.len() - 4 {
            assert!(assigned(&bytes[..length], "t").is_err(), "{length} bytes of {}", bytes.len());
        }
    }
}
