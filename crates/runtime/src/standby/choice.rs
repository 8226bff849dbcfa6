//! Which instance stands by for which task: the one that the group would give the task to if its owner's process went.
//!
//! Everybody comes to the same answer from the same roster, so nobody has to agree on anything. A group that gives a task
//! to somebody else than foreseen costs a restore, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::Roster;

/// Tasks that `instance` is to stand by for. `instance_of` tells the process of a slot; a slot of another kind has none.
pub(crate) fn tasks_of<'a>(
    instance: &str,
    roster: &'a Roster,
    standbys: u32,
    instance_of: impl Fn(&'a str) -> Option<&'a str>,
) -> BTreeSet<u32> {
    let mut slots: BTreeMap<&str, BTreeMap<&str, BTreeSet<u32>>> = BTreeMap::new();
    for member in roster {
        if let Some(instance) = instance_of(&member.slot) {
            slots.entry(instance).or_default().insert(&member.slot, member.tasks.clone());
        }
    }
    let mut chosen = BTreeSet::new();
    for (owner, owned) in slots.iter().filter(|(owner, _)| **owner != instance) {
        for task in owned.values().flatten() {
            let heirs = heirs(*task, owner, &slots, standbys);
            if heirs.contains(instance) {
                chosen.insert(*task);
            }
        }
    }
    chosen
}

/// The processes that would get `task` one after another, if its owner's went and then each of theirs.
fn heirs<'a>(
    task: u32,
    owner: &'a str,
    slots: &BTreeMap<&'a str, BTreeMap<&'a str, BTreeSet<u32>>>,
    standbys: u32,
) -> BTreeSet<&'a str> {
    let mut gone = BTreeSet::from([owner]);
    let mut heirs = BTreeSet::new();
    for _ in 0..standbys {
        let Some(heir) = heir(task, &gone, slots) else { break };
        gone.insert(heir);
        heirs.insert(heir);
    }
    heirs
}

/// Tasks without an owner go one by one, from the last to the first, each to whoever has the fewest, and of several to the
/// first by name: what librdkafka's cooperative-sticky assignor does.
fn heir<'a>(
    task: u32,
    gone: &BTreeSet<&str>,
    slots: &BTreeMap<&'a str, BTreeMap<&'a str, BTreeSet<u32>>>,
) -> Option<&'a str> {
    let (free, kept): (Vec<_>, Vec<_>) = slots.iter().partition(|(instance, _)| gone.contains(*instance));
    let mut counts: BTreeMap<&str, (usize, &'a str)> = BTreeMap::new();
    for (instance, of_instance) in kept {
        counts.extend(of_instance.iter().map(|(slot, tasks)| (*slot, (tasks.len(), *instance))));
    }
    let free: BTreeSet<u32> = free.into_iter().flat_map(|(_, slots)| slots.values().flatten().copied()).collect();
    for next in free.into_iter().rev() {
        let (_, (count, instance)) = counts.iter_mut().min_by_key(|(slot, (count, _))| (*count, **slot))?;
        *count += 1;
        if next == task {
            return Some(*instance);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::RosterMember;

    /// `a0=0,1 b0=2,3`: slots, by instance and number, with their tasks.
    fn roster(text: &str) -> Roster {
        let member = |text: &str| {
            let (slot, tasks) = text.split_once('=').expect("a slot and its tasks");
            let tasks = tasks.split(',').filter(|task| !task.is_empty());
            RosterMember { slot: slot.to_owned(), tasks: tasks.map(|task| task.parse().expect("a number")).collect() }
        };
        text.split(' ').map(member).collect()
    }

    fn choice(instance: &str, text: &str, standbys: u32) -> Vec<u32> {
        tasks_of(instance, &roster(text), standbys, |slot| Some(&slot[..1])).into_iter().collect()
    }

    #[test]
    fn a_task_has_its_standby_where_it_would_go() {
        // roster, standbys per task, then what a, b and c stand by for
        let table: [(&str, u32, [&[u32]; 3]); 8] = [
            ("a0=0,1,2,3", 1, [&[], &[], &[]]),
            ("a0=0,1 b0=2,3", 1, [&[2, 3], &[0, 1], &[]]),
            ("a0=0,1 b0=2,3", 0, [&[], &[], &[]]),
            ("a0=0,1 b0=2,3", 5, [&[2, 3], &[0, 1], &[]]),
            ("a0=0,1 b0=2,3 c0=4,5", 1, [&[3, 5], &[1, 4], &[0, 2]]),
            ("a0=0 a1=1 b0=2 b1=3", 1, [&[2, 3], &[0, 1], &[]]),
            ("a0=0,1,2 b0= c0=3", 1, [&[], &[1, 2, 3], &[0]]),
            // As it was seen on a broker: task 3 went to b, and task 2 to c.
            ("a0=2,3 b0=1 c0=0", 1, [&[], &[0, 3], &[1, 2]]),
        ];
        for (text, standbys, expected) in table {
            let found = ["a", "b", "c"].map(|instance| choice(instance, text, standbys));
            assert_eq!(found, expected.map(<[u32]>::to_vec), "{text} with {standbys}");
        }
    }

    #[test]
    fn every_task_has_as_many_standbys_as_there_are_others() {
        let text = "a0=0,3,6 a1=9 b0=1,4,7 c0=2,5,8 d0=10,11";
        for standbys in 0..6_u32 {
            let mut counts = BTreeMap::new();
            for instance in ["a", "b", "c", "d"] {
                let chosen = choice(instance, text, standbys);
                for task in &chosen {
                    *counts.entry(*task).or_insert(0) += 1;
                }
                let own = roster(text).into_iter().filter(|member| member.slot.starts_with(instance));
                let own: BTreeSet<u32> = own.flat_map(|member| member.tasks).collect();
                assert!(chosen.iter().all(|task| !own.contains(task)), "{instance} stands by for itself");
            }
            let expected = (0..12).filter(|_| standbys > 0).map(|task| (task, standbys.min(3))).collect();
            assert_eq!(counts, expected, "{standbys}");
        }
    }
}
