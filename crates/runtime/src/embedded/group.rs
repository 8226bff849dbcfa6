//! Groups: who owns which task. Sticky, balanced, and in two phases: a task goes to its next owner only after its last
//! one has acknowledged the revocation, or has been removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::broker::{MemberEvent, Roster, RosterMember};

pub(crate) type MemberId = u64;

/// What a member learns when it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    Event(MemberEvent),
    /// Another member took the slot: this one can never come back.
    Replaced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Active,
    /// Did not poll in time. Rejoins once it has acknowledged its loss.
    Expired,
    Replaced,
}

#[derive(Debug)]
struct MemberState {
    slot: String,
    session_timeout: Duration,
    polled_at: Duration,
    standing: Standing,
    /// Tasks it was told of and has not given back.
    owned: BTreeSet<u32>,
    /// Not yet told.
    assigning: BTreeSet<u32>,
    revoking: BTreeSet<u32>,
    /// Told, not yet acknowledged.
    in_flight: Option<MemberEvent>,
    /// How often it has given tasks up. What it sent before, it may not commit after, although it may own the task again.
    tenure: u64,
}

impl MemberState {
    /// Tasks that stay with the member as far as it has been told.
    fn kept(&self) -> BTreeSet<u32> {
        match &self.in_flight {
            Some(MemberEvent::Revoked(tasks)) => {
                self.owned.iter().filter(|task| !tasks.contains(task)).copied().collect()
            }
            _ => self.owned.clone(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Group {
    tasks: u32,
    next_member: MemberId,
    members: BTreeMap<MemberId, MemberState>,
}

impl Group {
    /// Adds a member. One that holds the slot already is fenced, and its tasks become free at once.
    pub(crate) fn join(&mut self, slot: &str, tasks: u32, session_timeout: Duration, now: Duration) -> MemberId {
        self.tasks = tasks;
        for member in self.members.values_mut().filter(|member| member.slot == slot) {
            remove(member, Standing::Replaced);
        }
        let id = self.next_member;
        self.next_member += 1;
        let member = MemberState {
            slot: slot.to_owned(),
            session_timeout,
            polled_at: now,
            standing: Standing::Active,
            owned: BTreeSet::new(),
            assigning: BTreeSet::new(),
            revoking: BTreeSet::new(),
            in_flight: None,
            tenure: 0,
        };
        self.members.insert(id, member);
        self.rebalance();
        id
    }

    pub(crate) fn leave(&mut self, id: MemberId) {
        self.members.remove(&id);
        self.rebalance();
    }

    /// Removes the members that did not poll in time.
    pub(crate) fn expire(&mut self, now: Duration) -> bool {
        let mut expired = false;
        for member in self.members.values_mut() {
            let silent_for = now.saturating_sub(member.polled_at);
            if member.standing == Standing::Active && silent_for > member.session_timeout {
                remove(member, Standing::Expired);
                expired = true;
            }
        }
        if expired {
            self.rebalance();
        }
        expired
    }

    pub(crate) fn poll(&mut self, id: MemberId, now: Duration) -> Answer {
        let Some(member) = self.members.get_mut(&id) else { return Answer::Replaced };
        member.polled_at = now;
        if member.in_flight.is_some() {
            return Answer::Nothing;
        }
        match member.standing {
            Standing::Active => next_event(member),
            _ if !member.owned.is_empty() => {
                let event = MemberEvent::Lost(member.owned.iter().copied().collect());
                member.in_flight = Some(event.clone());
                Answer::Event(event)
            }
            Standing::Replaced => Answer::Replaced,
            Standing::Expired => {
                member.standing = Standing::Active;
                self.rebalance();
                self.members.get_mut(&id).map_or(Answer::Nothing, next_event)
            }
        }
    }

    /// Whether `event` was the one that waited for an acknowledgement.
    pub(crate) fn acknowledge(&mut self, id: MemberId, event: &MemberEvent) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        if member.in_flight.as_ref() != Some(event) {
            // The member was removed between the event and its acknowledgement: it will be told so next.
            return member.standing != Standing::Active;
        }
        member.in_flight = None;
        if let MemberEvent::Revoked(tasks) | MemberEvent::Lost(tasks) = event {
            member.owned.retain(|task| !tasks.contains(task));
            member.tenure += 1;
        }
        self.rebalance();
        true
    }

    /// Who is in the group. What a member is about to be told of is not its own yet.
    pub(crate) fn roster(&self) -> Roster {
        let active = self.members.values().filter(|member| member.standing == Standing::Active);
        active.map(|member| RosterMember { slot: member.slot.clone(), tasks: member.owned.clone() }).collect()
    }

    /// What fences the offsets that the member sends now.
    pub(crate) fn tenure(&self, id: MemberId) -> u64 {
        self.members.get(&id).map_or(0, |member| member.tenure)
    }

    /// Whether the member may commit for `task` what it sent in this tenure.
    pub(crate) fn owns(&self, id: MemberId, tenure: u64, task: u32) -> bool {
        self.members.get(&id).is_some_and(|member| {
            member.standing == Standing::Active && member.tenure == tenure && member.owned.contains(&task)
        })
    }

    /// Plans anew from what members have been told; plans they have not been told of are dropped.
    fn rebalance(&mut self) {
        let mut active: Vec<&mut MemberState> =
            self.members.values_mut().filter(|member| member.standing == Standing::Active).collect();
        if active.is_empty() {
            return;
        }
        let owned: BTreeSet<u32> = active.iter().flat_map(|member| member.owned.iter().copied()).collect();
        let mut free = (0..self.tasks).filter(|task| !owned.contains(task));
        active.sort_by_cached_key(|member| (std::cmp::Reverse(member.kept().len()), member.slot.clone()));
        let count = active.len();
        let (quota, remainder) = (self.tasks as usize / count, self.tasks as usize % count);
        for (index, member) in active.into_iter().enumerate() {
            let quota = quota + usize::from(index < remainder);
            let kept = member.kept();
            member.revoking = kept.iter().skip(quota).copied().collect();
            member.assigning = free.by_ref().take(quota.saturating_sub(kept.len())).collect();
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: HashMap<String, Group>,
}

impl Groups {
    pub(crate) fn group(&mut self, name: &str) -> &mut Group {
        self.groups.entry(name.to_owned()).or_default()
    }

    pub(crate) fn owns(&self, name: &str, id: MemberId, tenure: u64, task: u32) -> bool {
        self.groups.get(name).is_some_and(|group| group.owns(id, tenure, task))
    }

    pub(crate) fn expire(&mut self, now: Duration) -> bool {
        self.groups.values_mut().filter_map(|group| group.expire(now).then_some(())).count() > 0
    }
}

fn next_event(member: &mut MemberState) -> Answer {
    let event = if !member.revoking.is_empty() {
        MemberEvent::Revoked(std::mem::take(&mut member.revoking).into_iter().collect())
    } else if !member.assigning.is_empty() {
        member.owned.extend(&member.assigning);
        MemberEvent::Assigned(std::mem::take(&mut member.assigning).into_iter().collect())
    } else {
        return Answer::Nothing;
    };
    member.in_flight = Some(event.clone());
    Answer::Event(event)
}

/// What it was told stays on record, so that it can be told of the loss.
fn remove(member: &mut MemberState, standing: Standing) {
    member.standing = standing;
    member.in_flight = None;
    member.assigning.clear();
    member.revoking.clear();
}
