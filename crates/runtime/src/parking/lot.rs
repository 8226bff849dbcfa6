//! What is parked of one input of one task, as the open transaction has left it.

use tidemill_core::StateError;
use tidemill_topology::plan::ParkingLimits;

use crate::parking::{Flags, PARKED_INPUTS, PARKED_KEYS, ParkedInput, ParkedKey, ParkedPhase, Ticket, state_key};
use crate::task::state::TaskState;

/// Why a record cannot be parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Keys,
    RecordsOfKey,
    Age,
}

pub(crate) struct Lot<'a> {
    pub(crate) state: &'a mut TaskState,
    pub(crate) flags: &'a mut Flags,
    pub(crate) topic: &'a str,
}

impl Lot<'_> {
    pub(crate) fn get(&mut self, key: &[u8]) -> Result<Option<ParkedKey>, StateError> {
        if !self.flags.is_holding || sabotaged!(ForgetParked) {
            return Ok(None);
        }
        PARKED_KEYS.get(self.state, &state_key(self.topic, key))
    }

    pub(crate) fn input(&mut self) -> Result<ParkedInput, StateError> {
        Ok(PARKED_INPUTS.get(self.state, self.topic.as_bytes())?.unwrap_or_default())
    }

    /// The record whose dead letter is `head` has failed: its key waits for that. `Err` inside says that no more keys can.
    pub(crate) fn park(
        &mut self,
        key: &[u8],
        head: String,
        now_ms: i64,
        limits: ParkingLimits,
    ) -> Result<Result<(), Full>, StateError> {
        let mut input = self.input()?;
        let parked = match self.get(key)? {
            Some(mut parked) => {
                if parked.phase == ParkedPhase::Releasing {
                    input.releasing = one_less(input.releasing)?;
                }
                parked.head = head;
                parked.phase = ParkedPhase::Waiting;
                parked
            }
            None if input.keys >= limits.keys_max => return Ok(Err(Full::Keys)),
            None => {
                input.keys += 1;
                input.episodes += 1;
                if input.keys == 1 {
                    input.since_ms = now_ms;
                }
                let phase = ParkedPhase::Waiting;
                ParkedKey { head, phase, episode: input.episodes, next_out: 0, next_in: 0, parked_at_ms: now_ms }
            }
        };
        self.flags.is_holding = true;
        self.put(key, &parked)?;
        self.put_input(&input)?;
        Ok(Ok(()))
    }

    /// Takes a ticket for a record of a parked key, which has to be written into the parked topic then.
    pub(crate) fn hold_back(
        &mut self,
        key: &[u8],
        mut parked: ParkedKey,
        now_ms: i64,
        limits: ParkingLimits,
    ) -> Result<Result<Ticket, Full>, StateError> {
        if parked.records() >= limits.records_per_key_max {
            return Ok(Err(Full::RecordsOfKey));
        }
        let waited_s = u64::try_from(now_ms.saturating_sub(parked.parked_at_ms)).unwrap_or(0) / 1_000;
        if parked.phase == ParkedPhase::Waiting && waited_s >= limits.age_s_max {
            return Ok(Err(Full::Age));
        }
        let ticket = Ticket { episode: parked.episode, number: parked.next_in };
        parked.next_in += 1;
        let mut input = self.input()?;
        input.records += 1;
        self.put(key, &parked)?;
        self.put_input(&input)?;
        Ok(Ok(ticket))
    }

    /// Whether the key waits for this dead letter.
    pub(crate) fn is_head(&mut self, key: &[u8], id: &str) -> Result<bool, StateError> {
        Ok(self.get(key)?.is_some_and(|parked| parked.phase == ParkedPhase::Waiting && parked.head == id))
    }

    /// The key need not wait for its head any more: it is free, or what waits is released from now on.
    pub(crate) fn resolve(&mut self, key: &[u8], id: &str) -> Result<(), StateError> {
        if !self.is_head(key, id)? {
            return Ok(());
        }
        let Some(mut parked) = self.get(key)? else { return Ok(()) };
        if parked.records() == 0 || sabotaged!(FreeEarly) {
            return self.free(key, &parked, None);
        }
        parked.phase = ParkedPhase::Releasing;
        self.flags.is_releasing = true;
        let mut input = self.input()?;
        input.releasing += 1;
        self.put(key, &parked)?;
        self.put_input(&input)
    }

    /// Whether this is the record of the key that is to be released next.
    pub(crate) fn is_next(&mut self, key: &[u8], ticket: Ticket) -> Result<bool, StateError> {
        let Some(parked) = self.get(key)? else { return Ok(false) };
        let is_of_episode = parked.phase == ParkedPhase::Releasing && parked.episode == ticket.episode;
        if sabotaged!(ReleaseAnyOrder) {
            return Ok(is_of_episode && ticket.number >= parked.next_out);
        }
        Ok(is_of_episode && ticket.number == parked.next_out)
    }

    /// Whether this record still has its turn to come.
    pub(crate) fn waits(&mut self, key: &[u8], ticket: Ticket) -> Result<bool, StateError> {
        let parked = self.get(key)?;
        Ok(parked.is_some_and(|parked| parked.episode == ticket.episode && ticket.number >= parked.next_out))
    }

    /// No record before this offset of the parked topic waits any more.
    pub(crate) fn scan_from(&mut self, offset: u64) -> Result<(), StateError> {
        let mut input = self.input()?;
        input.scan_from = input.scan_from.max(offset);
        self.put_input(&input)
    }

    /// The record at `offset` of the parked topic, which was the next of its key, has been processed. If it failed, the
    /// key waits again by now.
    pub(crate) fn take(&mut self, key: &[u8], offset: u64) -> Result<(), StateError> {
        let Some(mut parked) = self.get(key)? else { return Ok(()) };
        let mut input = self.input()?;
        parked.next_out += 1;
        input.records = input.records.saturating_sub(1);
        self.put_input(&input)?;
        if parked.phase == ParkedPhase::Releasing && parked.records() == 0 {
            return self.free(key, &parked, Some(offset + 1));
        }
        self.put(key, &parked)
    }

    fn free(&mut self, key: &[u8], parked: &ParkedKey, read_to: Option<u64>) -> Result<(), StateError> {
        let mut input = self.input()?;
        input.keys = one_less(input.keys)?;
        input.records = input.records.saturating_sub(parked.records());
        if parked.phase == ParkedPhase::Releasing {
            input.releasing = one_less(input.releasing)?;
        }
        // Nothing waits any more, so everything that was read has been released.
        if let (0, Some(read_to)) = (input.keys, read_to) {
            input.scan_from = input.scan_from.max(read_to);
        }
        self.put_input(&input)?;
        PARKED_KEYS.delete(self.state, &state_key(self.topic, key))
    }

    fn put(&mut self, key: &[u8], parked: &ParkedKey) -> Result<(), StateError> {
        PARKED_KEYS.put(self.state, &state_key(self.topic, key), parked)
    }

    fn put_input(&mut self, input: &ParkedInput) -> Result<(), StateError> {
        PARKED_INPUTS.put(self.state, self.topic.as_bytes(), input)
    }
}

/// The figures of an input count its keys, so there is one to take away.
fn one_less(count: u64) -> Result<u64, StateError> {
    count.checked_sub(1).ok_or_else(|| {
        let message = "it counts less keys than there are".to_owned();
        StateError::Corrupt { store: PARKED_INPUTS.name(), message }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::StoreFactory;
    use crate::store::memory::MemoryStores;
    use crate::store::write_behind::{Background, WriteBehind};
    use crate::threads::SystemThreads;

    const LIMITS: ParkingLimits = ParkingLimits { keys_max: 2, records_per_key_max: 3, age_s_max: 60 };

    fn state() -> TaskState {
        let store = MemoryStores::default().open(Path::new("test"), "test").expect("a store in memory");
        let background = Background { threads: Arc::new(SystemThreads), clock: Arc::new(SystemClock::default()) };
        TaskState::new(WriteBehind::new(store, 1 << 20, background))
    }

    /// What happens to keys, one step a line, and what it comes to.
    const STORY: &[(&str, &str)] = &[
        ("hold a", "not parked"),
        ("park a h1", "parked"),
        ("hold a", "1/0"),
        ("hold a", "1/1"),
        ("resolve a h0", "keys 1 releasing 0 records 2"),
        ("next a 1/0", "no"),
        ("resolve a h1", "keys 1 releasing 1 records 2"),
        ("next a 1/1", "no"),
        ("next a 1/0", "yes"),
        ("take a", "keys 1 releasing 1 records 1"),
        ("hold a", "1/2"),
        ("hold a", "1/3"),
        ("hold a", "RecordsOfKey"),
        ("park a h2", "parked"),
        ("take a", "keys 1 releasing 0 records 2"),
        ("next a 1/2", "no"),
        ("park b h3", "parked"),
        ("park c h4", "Keys"),
        ("resolve b h3", "keys 1 releasing 0 records 2"),
        ("resolve a h2", "keys 1 releasing 1 records 2"),
        ("take a", "keys 1 releasing 1 records 1"),
        ("take a", "keys 0 releasing 0 records 0"),
        ("hold a", "not parked"),
        ("park a h5", "parked"),
        ("hold a", "3/0"),
        ("hold a 60004", "3/1"),
        ("hold a 60005", "Age"),
        ("resolve a h5", "keys 1 releasing 1 records 2"),
        ("hold a 60005", "3/2"),
        ("next a 1/0", "no"),
        ("next a 3/0", "yes"),
    ];

    #[test]
    fn a_key_is_held_back_and_released_in_order() {
        let (mut state, mut flags) = (state(), Flags::default());
        for (number, (step, expected)) in STORY.iter().enumerate() {
            let mut lot = Lot { state: &mut state, flags: &mut flags, topic: "t" };
            assert_eq!(does(&mut lot, step), *expected, "step {number}: {step}");
        }
    }

    fn does(lot: &mut Lot<'_>, step: &str) -> String {
        let words: Vec<&str> = step.split(' ').collect();
        let key = words[1].as_bytes();
        let now_ms = words.get(2).and_then(|text| text.parse().ok()).unwrap_or(5);
        let figures = |lot: &mut Lot<'_>| {
            let ParkedInput { keys, releasing, records, .. } = lot.input().expect("can be read");
            format!("keys {keys} releasing {releasing} records {records}")
        };
        match words[0] {
            "park" => match lot.park(key, words[2].to_owned(), 5, LIMITS).expect("can be written") {
                Ok(()) => "parked".to_owned(),
                Err(full) => format!("{full:?}"),
            },
            "hold" => match lot.get(key).expect("can be read") {
                None => "not parked".to_owned(),
                Some(parked) => match lot.hold_back(key, parked, now_ms, LIMITS).expect("can be written") {
                    Ok(ticket) => ticket.to_string(),
                    Err(full) => format!("{full:?}"),
                },
            },
            "resolve" => {
                lot.resolve(key, words[2]).expect("can be written");
                figures(lot)
            }
            "next" => {
                let (episode, number) = words[2].split_once('/').expect("a ticket");
                let ticket =
                    Ticket { episode: episode.parse().expect("a number"), number: number.parse().expect("a number") };
                if lot.is_next(key, ticket).expect("can be read") { "yes".to_owned() } else { "no".to_owned() }
            }
            _ => {
                lot.take(key, 7).expect("can be written");
                figures(lot)
            }
        }
    }
}
