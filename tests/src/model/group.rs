//! Groups with static members, by the classic protocol and cooperative: a rebalance waits until every member has joined
//! again, raises the generation, and hands a task to its next owner only after the last one has given it up.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidemill_runtime::broker::{MemberEvent, Roster, RosterMember};

use super::refusal::Refusal;

pub(super) type MemberId = u64;

/// What a member learns when it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Nothing,
    Event(MemberEvent),
    /// Another member took the slot: this one can never come back.
    Fenced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Active,
    /// Was not heard of in time. Joins again once it has acknowledged its loss.
    Expired,
    Fenced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Stable,
    /// A rebalance waits for members to join again.
    Joining,
}

#[derive(Debug)]
struct State {
    slot: String,
    session_timeout: Duration,
    heard_at: Duration,
    standing: Standing,
    /// Its process is gone, so that nobody will ever ask again.
    is_abandoned: bool,
    /// Generation that the member knows of. Behind the group's between the end of a rebalance and its next poll.
    generation: u64,
    has_joined: bool,
    /// Tasks it was told of and has not given back.
    owned: BTreeSet<u32>,
    /// Not yet told.
    assigning: BTreeSet<u32>,
    revoking: BTreeSet<u32>,
    /// Tasks of the member that had the slot before: to stay with the slot if the plan allows it.
    inherited: BTreeSet<u32>,
    /// Told, not yet acknowledged.
    in_flight: Option<MemberEvent>,
}

impl State {
    fn new(slot: &str, session_timeout: Duration, now: Duration) -> Self {
        Self {
            slot: slot.to_owned(),
            session_timeout,
            heard_at: now,
            standing: Standing::Active,
            is_abandoned: false,
            generation: 0,
            has_joined: true,
            owned: BTreeSet::new(),
            assigning: BTreeSet::new(),
            revoking: BTreeSet::new(),
            inherited: BTreeSet::new(),
            in_flight: None,
        }
    }

    /// Whether it is giving tasks up, which the group waits for.
    fn is_revoking(&self) -> bool {
        !self.revoking.is_empty() || matches!(self.in_flight, Some(MemberEvent::Revoked(_)))
    }

    /// What it was told stays on record, so that it can be told of the loss.
    fn remove(&mut self, standing: Standing) {
        self.standing = standing;
        self.in_flight = None;
        self.assigning.clear();
        self.revoking.clear();
        self.inherited.clear();
        self.has_joined = false;
    }

    fn next_event(&mut self) -> Option<MemberEvent> {
        let event = if !self.revoking.is_empty() {
            MemberEvent::Revoked(std::mem::take(&mut self.revoking).into_iter().collect())
        } else if !self.assigning.is_empty() {
            self.owned.extend(&self.assigning);
            MemberEvent::Assigned(std::mem::take(&mut self.assigning).into_iter().collect())
        } else {
            return None;
        };
        self.in_flight = Some(event.clone());
        Some(event)
    }
}

#[derive(Debug)]
pub(super) struct Group {
    tasks: u32,
    generation: u64,
    phase: Phase,
    next_member: MemberId,
    members: BTreeMap<MemberId, State>,
}

impl Default for Group {
    fn default() -> Self {
        Self { tasks: 0, generation: 0, phase: Phase::Stable, next_member: 0, members: BTreeMap::new() }
    }
}

impl Group {
    /// Adds a member. Another of the same slot is fenced. If the group was at rest, the newcomer gets that one's tasks
    /// without a rebalance.
    pub(super) fn join(&mut self, slot: &str, tasks: u32, session_timeout: Duration, now: Duration) -> MemberId {
        self.tasks = tasks;
        let mut newcomer = State::new(slot, session_timeout, now);
        let mut needs_rebalance = true;
        for old in self.members.values_mut().filter(|old| old.slot == slot && old.standing != Standing::Fenced) {
            if old.standing == Standing::Active {
                let given_up = match &old.in_flight {
                    Some(MemberEvent::Revoked(tasks)) => tasks.clone(),
                    _ => Vec::new(),
                };
                let stays = old.owned.union(&old.assigning).filter(|task| !given_up.contains(task));
                newcomer.inherited = stays.filter(|task| !old.revoking.contains(task)).copied().collect();
                needs_rebalance = old.is_revoking();
            }
            old.remove(Standing::Fenced);
        }
        if !needs_rebalance && self.phase == Phase::Stable {
            newcomer.assigning = std::mem::take(&mut newcomer.inherited);
            newcomer.generation = self.generation;
            newcomer.has_joined = false;
        }
        self.members.retain(|_, member| !(member.standing == Standing::Fenced && member.is_abandoned));
        let id = self.next_member;
        self.next_member += 1;
        self.members.insert(id, newcomer);
        if needs_rebalance {
            self.phase = Phase::Joining;
        }
        self.finish_rebalance();
        id
    }

    /// The member's process is gone. A static member says nothing when it goes, so the group waits for its session.
    pub(super) fn abandon(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.is_abandoned = true;
        }
        self.forget_abandoned();
    }

    fn forget_abandoned(&mut self) {
        self.members.retain(|_, member| !member.is_abandoned || member.standing == Standing::Active);
    }

    /// Removes the member of this slot as if its session had timed out now. Says whether there was one.
    pub(super) fn remove_slot(&mut self, slot: &str) -> bool {
        let of_slot = |member: &&mut State| member.slot == slot && member.standing == Standing::Active;
        let Some(member) = self.members.values_mut().find(of_slot) else { return false };
        member.remove(Standing::Expired);
        self.after_removal();
        true
    }

    /// Fences the member of this slot although nobody took it: the broker believes in a successor, which nobody runs.
    pub(super) fn fence_slot(&mut self, slot: &str, now: Duration) -> bool {
        let of_slot = |member: &&State| member.slot == slot && member.standing == Standing::Active;
        let Some(session_timeout) = self.members.values().find(of_slot).map(|member| member.session_timeout) else {
            return false;
        };
        let ghost = self.join(slot, self.tasks, session_timeout, now);
        if let Some(ghost) = self.members.get_mut(&ghost) {
            // It holds the tasks for as long as its session lasts.
            ghost.owned.append(&mut ghost.assigning);
            ghost.is_abandoned = true;
        }
        true
    }

    /// Removes the members that were not heard of in time.
    pub(super) fn expire(&mut self, now: Duration) {
        let mut has_expired = false;
        for member in self.members.values_mut() {
            let silent_for = now.saturating_sub(member.heard_at);
            if member.standing == Standing::Active && silent_for > member.session_timeout {
                member.remove(Standing::Expired);
                has_expired = true;
            }
        }
        if has_expired {
            self.after_removal();
        }
    }

    fn after_removal(&mut self) {
        self.forget_abandoned();
        self.phase = Phase::Joining;
        self.finish_rebalance();
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        let active = self.members.values().filter(|member| member.standing == Standing::Active);
        active.map(|member| member.heard_at + member.session_timeout + Duration::from_nanos(1)).min()
    }

    pub(super) fn poll(&mut self, id: MemberId, now: Duration) -> Answer {
        let Some(member) = self.members.get_mut(&id) else { return Answer::Fenced };
        if member.standing == Standing::Fenced {
            return Answer::Fenced;
        }
        member.heard_at = now;
        if member.in_flight.is_some() {
            return Answer::Nothing;
        }
        if member.standing == Standing::Expired {
            if !member.owned.is_empty() {
                let event = MemberEvent::Lost(member.owned.iter().copied().collect());
                member.in_flight = Some(event.clone());
                return Answer::Event(event);
            }
            *member = State::new(&member.slot, member.session_timeout, now);
            self.phase = Phase::Joining;
        }
        // What the last rebalance decided comes before joining the next.
        if let Some(event) = self.learn(id) {
            return Answer::Event(event);
        }
        if self.phase == Phase::Joining {
            if let Some(member) = self.members.get_mut(&id) {
                member.has_joined = true;
            }
            self.finish_rebalance();
        }
        self.learn(id).map_or(Answer::Nothing, Answer::Event)
    }

    fn learn(&mut self, id: MemberId) -> Option<MemberEvent> {
        let member = self.members.get_mut(&id)?;
        if self.phase == Phase::Stable || !member.has_joined {
            member.generation = self.generation;
        }
        member.next_event()
    }

    /// Whether `event` was the one that waited for an acknowledgement.
    pub(super) fn acknowledge(&mut self, id: MemberId, event: &MemberEvent) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return true };
        if member.in_flight.as_ref() != Some(event) && member.standing == Standing::Active {
            return false;
        }
        // A member that was removed between the event and its acknowledgement will be told so next.
        member.in_flight = None;
        if let MemberEvent::Revoked(tasks) | MemberEvent::Lost(tasks) = event {
            member.owned.retain(|task| !tasks.contains(task));
        }
        if matches!(event, MemberEvent::Revoked(_)) && member.standing == Standing::Active {
            member.has_joined = true;
            self.phase = Phase::Joining;
            self.finish_rebalance();
        }
        true
    }

    /// What fences a commit: who the member is and which generation it knows, never which tasks it owns.
    pub(super) fn fence(&self, id: MemberId) -> Result<(), Refusal> {
        let member = self.members.get(&id).ok_or(Refusal::FencedInstanceId)?;
        match member.standing {
            Standing::Fenced => Err(Refusal::FencedInstanceId),
            _ if member.owned.is_empty() => Err(Refusal::OwnsNoTask),
            Standing::Expired => Err(Refusal::UnknownMemberId),
            Standing::Active if member.generation != self.generation => Err(Refusal::IllegalGeneration),
            Standing::Active => Ok(()),
        }
    }

    /// Who the broker believes owns which task.
    pub(super) fn owners(&self) -> BTreeMap<u32, String> {
        let active = self.members.values().filter(|member| member.standing == Standing::Active);
        active.flat_map(|member| member.owned.iter().map(|task| (*task, member.slot.clone()))).collect()
    }

    /// What the broker tells of the group, once it has agreed.
    pub(super) fn roster(&self) -> Option<Roster> {
        let active = self.members.values().filter(|member| member.standing == Standing::Active);
        let member = |member: &State| RosterMember { slot: member.slot.clone(), tasks: member.owned.clone() };
        (self.phase == Phase::Stable).then(|| active.map(member).collect())
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Once every member has joined: plans anew from what they own.
    fn finish_rebalance(&mut self) {
        let mut active: Vec<&mut State> =
            self.members.values_mut().filter(|member| member.standing == Standing::Active).collect();
        if self.phase == Phase::Stable || active.is_empty() || !active.iter().all(|member| member.has_joined) {
            return;
        }
        self.phase = Phase::Stable;
        self.generation += 1;
        let owned: BTreeSet<u32> = active.iter().flat_map(|member| member.owned.iter().copied()).collect();
        let mut free: BTreeSet<u32> = (0..self.tasks).filter(|task| !owned.contains(task)).collect();
        active.sort_by_cached_key(|member| {
            let kept = member.owned.len() + member.inherited.intersection(&free).count();
            (Reverse(kept), member.slot.clone())
        });
        let (quota, remainder) = (self.tasks as usize / active.len(), self.tasks as usize % active.len());
        let quotas = (0..).map(|index| quota + usize::from(index < remainder));
        for (member, quota) in active.iter_mut().zip(quotas.clone()) {
            member.has_joined = false;
            member.revoking = member.owned.iter().skip(quota).copied().collect();
            let inherited = std::mem::take(&mut member.inherited).into_iter().filter(|task| free.contains(task));
            member.assigning = inherited.take(quota.saturating_sub(member.owned.len())).collect();
            free.retain(|task| !member.assigning.contains(task));
        }
        let mut free = free.into_iter();
        for (member, quota) in active.iter_mut().zip(quotas) {
            let missing = quota.saturating_sub(member.owned.len() + member.assigning.len());
            member.assigning.extend(free.by_ref().take(missing));
        }
    }
}
