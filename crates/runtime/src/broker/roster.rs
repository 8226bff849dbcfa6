//! Who is in a group.

use std::collections::BTreeSet;

/// The members of a unit's group, in no particular order.
pub type Roster = Vec<RosterMember>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterMember {
    pub slot: String,
    pub tasks: BTreeSet<u32>,
}
