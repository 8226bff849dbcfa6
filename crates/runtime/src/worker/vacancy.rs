//! A task that the group has given to nobody, and the worker that makes the group share out anew.
//!
//! With the classic protocol a task changes hands in two rebalances, and whoever gave it up asks for the second. A static
//! member that comes back under a new member id, as after a restart of the broker, gets what the first rebalance gave it
//! and asks for nothing; then the task has no owner until somebody joins or leaves.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::broker::{BrokerError, BrokerErrorKind, Roster, RosterMember};
use crate::worker::{Worker, WorkerError};

const LOOK_INTERVAL: Duration = Duration::from_secs(4);
/// Looks in a row that find the same members with the same tasks: between the two rebalances nobody owns the task either,
/// for as long as the last commit of its owner takes.
const LOOKS: u32 = 3;

#[derive(Default)]
pub(super) struct Vacancy {
    look_at: Duration,
    /// The last roster with a task that nobody owns, and how often in a row it was seen.
    seen: Option<(Roster, u32)>,
}

impl Worker {
    /// Looks from time to time whether every task has an owner. Where one has none for good, the worker that has least to
    /// lose leaves the group and joins it anew, which makes the group share out all tasks.
    pub(super) fn fill_vacancy(&mut self) -> Result<(), WorkerError> {
        let now = self.shared.clock.now();
        if self.member.is_none() || now < self.vacancy.look_at || sabotaged!(NoVacancy) {
            return Ok(());
        }
        self.vacancy.look_at = now + LOOK_INTERVAL;
        let pipeline = &self.shared.topology.pipeline;
        let asked = self.shared.broker.roster(&self.unit.group(pipeline), &self.unit.tasks_topic(pipeline));
        // Whoever does not say who owns what has no part in this; the next look asks again.
        let Ok(Some(mut roster)) = asked else {
            self.vacancy.seen = None;
            return Ok(());
        };
        roster.sort_by(|one, other| one.slot.cmp(&other.slot));
        let vacant = vacant(&roster, self.unit.tasks);
        let looks = match self.vacancy.seen.take() {
            Some((seen, looks)) if seen == roster => looks + 1,
            _ => 1,
        };
        let is_chosen = chosen(&roster) == Some(&self.slot);
        if vacant.is_empty() || looks < LOOKS || !is_chosen {
            self.vacancy.seen = (!vacant.is_empty()).then_some((roster, looks));
            return Ok(());
        }
        tracing::warn!(
            code = "tasks_unowned",
            tasks = ?vacant,
            slot = self.slot,
            "the group has given tasks to nobody; this worker leaves it and joins again, so that it shares out anew"
        );
        self.join_anew()
    }

    fn join_anew(&mut self) -> Result<(), WorkerError> {
        let numbers: Vec<u32> = self.tasks.keys().chain(self.starting.keys()).copied().collect();
        self.release(&numbers)?;
        self.owned.clear();
        self.unanswered = None;
        let Some(member) = self.member.take() else { return Ok(()) };
        member.leave().map_err(|error| BrokerError { kind: BrokerErrorKind::Retriable, ..error }.into())
    }
}

fn vacant(roster: &Roster, tasks: u32) -> BTreeSet<u32> {
    let is_vacant = |task: &u32| roster.iter().all(|member| !member.tasks.contains(task));
    (0..tasks).filter(is_vacant).collect()
}

/// Everybody chooses the same.
fn chosen(roster: &Roster) -> Option<&str> {
    let least = |member: &&RosterMember| (member.tasks.len(), member.slot.clone());
    roster.iter().min_by_key(least).map(|member| member.slot.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(slot: &str, tasks: &[u32]) -> RosterMember {
        RosterMember { slot: slot.to_owned(), tasks: tasks.iter().copied().collect() }
    }

    #[test]
    fn whoever_owns_least_goes_and_all_agree_who_that_is() {
        let roster = vec![member("a", &[0, 3]), member("b", &[]), member("c", &[])];
        assert_eq!(vacant(&roster, 4), BTreeSet::from([1, 2]));
        assert_eq!(chosen(&roster), Some("b"));
        assert_eq!(vacant(&vec![member("a", &[0, 1])], 2), BTreeSet::new());
        assert_eq!(chosen(&Vec::new()), None);
    }
}
