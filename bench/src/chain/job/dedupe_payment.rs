//! Refuses what was sent before.
//!
//! - Input: `payment`; passes it on unchanged the first time.
//! - Identity: debit account and id. An entry counts for payments created less than 24 hours before or after the payment
//!   that made it; a repeat does not prolong it.
//! - Store: `seen_payments`, the hash of the value and `created_at`, by day of `created_at`, id and debit account. With
//!   the day in front, entries that have expired lie before all others. A look-up asks for the day of the payment and for
//!   its neighbours as far as they can matter: payments of a partition come in order but for two seconds. Before all
//!   entries lies the oldest day of which there is one, so that no day is asked for before it.
//! - Eviction: at every 64th offset, when the oldest day has expired, its entries are deleted: up to 128, twice what can
//!   have been added. The oldest day is written again each time, so that it is among what lies in memory.
//! - Codes: `duplicate`, `idempotency_conflict`. An entry stays when a later step rejects its payment.

use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::{
    AnyEvent, Class, CodeSpec, Context, Flow, Outcome, Processor, ProcessorSpec, Reject, State, StateError, StoreSpec,
};

use crate::chain::job::event::BY_ACCOUNT;
use crate::chain::job::outputs::{REJECTED, Rejected};
use crate::chain::job::payment::Payment;

pub(super) static SPEC: ProcessorSpec = ProcessorSpec {
    name: "dedupe_payment",
    summary: "Refuses a payment that was sent before, and an id that is used for another one.",
    signatures: &[Signature { takes: Payment::KIND, gives: Some(Payment::KIND) }],
    stores: &[StoreSpec {
        name: STORE,
        keyed_by: BY_ACCOUNT,
        summary: "Hash and time of every payment of the last 24 hours.",
    }],
    ports: &[REJECTED],
    references: &[],
    codes: &[DUPLICATE, IDEMPOTENCY_CONFLICT],
    decodes: None,
    moves_money: MovesMoney::No,
    example: "",
    build: |_| Ok(Box::new(DedupePayment)),
};

const DUPLICATE: CodeSpec = CodeSpec {
    code: "duplicate",
    class: Class::Business,
    summary: "The payment was received before, with the same value.",
    remedy: "Nothing needs to be done: the first outcome stands.",
};
const IDEMPOTENCY_CONFLICT: CodeSpec = CodeSpec {
    code: "idempotency_conflict",
    class: Class::Business,
    summary: "The id was used for a payment with another value.",
    remedy: "Send it under a new id, if it is another payment.",
};

const STORE: &str = "seen_payments";
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// By how much `created_at` may go back within a partition.
const LATENESS_MS: i64 = 2_000;
const EVICTION_INTERVAL_OFFSETS: u64 = 64;
const EVICTED_ENTRIES_MAX: usize = 128;

/// Before every day that a payment can have: see [`day_prefix`]. Behind them it would be the greatest key for ever, and no
/// new entry could be seen to lie behind all that is on the disk.
const OLDEST_DAY: &[u8] = &[0; 5];

/// How an id is kept.
const UUID: u8 = 1;
const OTHER: u8 = 0;

struct DedupePayment;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    value_hash: u64,
    created_at_ms: i64,
}

impl Processor for DedupePayment {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let Some(payment) = event.downcast_ref::<Payment>() else { return Err(Reject::unexpected(&event)) };
        let day = day_of(payment.created_at_ms);
        let oldest_day = oldest_day(context.state)?;
        let mut key = key_of(day, payment);
        let code = match find(context.state, &mut key, payment, oldest_day)? {
            None => {
                set_day(&mut key, day);
                context.state.put(STORE, &key, Seen::of(payment).to_bytes())?;
                if day < oldest_day {
                    put_oldest_day(context.state, day)?;
                } else if context.record.origin.offset.is_multiple_of(EVICTION_INTERVAL_OFFSETS) {
                    evict(context.state, payment.created_at_ms, oldest_day)?;
                }
                return Ok(Flow::Continue(event));
            }
            Some(seen) if seen.value_hash == payment.value_hash => DUPLICATE.code,
            Some(_) => IDEMPOTENCY_CONFLICT.code,
        };
        let rejected = Rejected {
            payment: payment.id.clone(),
            debit_account: payment.debit_account.clone(),
            code,
            time: context.record.event_time,
        };
        context.effects.emit(REJECTED.name, Box::new(rejected) as AnyEvent);
        Ok(Flow::Done(Outcome::Rejected(code)))
    }
}

impl Seen {
    fn of(payment: &Payment) -> Self {
        Self { value_hash: payment.value_hash, created_at_ms: payment.created_at_ms }
    }

    fn to_bytes(self) -> Vec<u8> {
        [self.value_hash.to_le_bytes(), self.created_at_ms.to_le_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let halves = bytes.split_first_chunk::<8>().and_then(|(hash, rest)| Some((hash, rest.try_into().ok()?)));
        let Some((hash, created_at)) = halves else {
            let message = format!("an entry has 16 bytes, not {}", bytes.len());
            return Err(StateError::Corrupt { store: STORE, message });
        };
        Ok(Self { value_hash: u64::from_le_bytes(*hash), created_at_ms: i64::from_le_bytes(created_at) })
    }
}

/// The entry that counts for this payment. Changes the day in `key`.
fn find(state: &mut dyn State, key: &mut [u8], payment: &Payment, oldest_day: i64) -> Result<Option<Seen>, StateError> {
    let earliest = oldest_day.max(day_of(payment.created_at_ms) - 1);
    let latest = day_of(payment.created_at_ms + LATENESS_MS);
    for day in (earliest..=latest).rev() {
        set_day(key, day);
        let Some(bytes) = state.get(STORE, key)? else { continue };
        let seen = Seen::from_bytes(bytes)?;
        if seen.created_at_ms.abs_diff(payment.created_at_ms) < DAY_MS.unsigned_abs() {
            return Ok(Some(seen));
        }
    }
    Ok(None)
}

/// There is no entry of a day before it. The last of all days while there is no entry at all.
fn oldest_day(state: &mut dyn State) -> Result<i64, StateError> {
    match state.get(STORE, OLDEST_DAY)? {
        None => Ok(i64::MAX),
        Some(bytes) => {
            let corrupt = |_| StateError::Corrupt { store: STORE, message: "the oldest day is no number".to_owned() };
            bytes.try_into().map(i64::from_le_bytes).map_err(corrupt)
        }
    }
}

fn put_oldest_day(state: &mut dyn State, day: i64) -> Result<(), StateError> {
    state.put(STORE, OLDEST_DAY, day.to_le_bytes().to_vec())
}

/// Deletes the oldest entries, if they count for no payment that can still come.
fn evict(state: &mut dyn State, created_at_ms: i64, oldest_day: i64) -> Result<(), StateError> {
    let first_kept = day_of(created_at_ms - LATENESS_MS) - 1;
    if oldest_day >= first_kept {
        return put_oldest_day(state, oldest_day);
    }
    let oldest = state.scan(STORE, OLDEST_DAY, EVICTED_ENTRIES_MAX)?;
    let kept_from = day_prefix(first_kept);
    let expired = oldest.iter().take_while(|(key, _)| *key.as_slice() < kept_from[..]).count();
    for (key, _) in &oldest[..expired] {
        state.delete(STORE, key)?;
    }
    put_oldest_day(state, if expired < EVICTED_ENTRIES_MAX { first_kept } else { oldest_day })
}

fn day_of(millis: i64) -> i64 {
    millis.div_euclid(DAY_MS)
}

/// Four bytes that sort as days do.
fn day_prefix(day: i64) -> [u8; 4] {
    // `created_at` has a year of four digits, so its day fits 32 bits many times over.
    ((day as i32) ^ i32::MIN).to_be_bytes()
}

fn set_day(key: &mut [u8], day: i64) {
    key[..4].copy_from_slice(&day_prefix(day));
}

fn key_of(day: i64, payment: &Payment) -> Vec<u8> {
    let (id, debit_account) = (payment.id.bytes(), payment.debit_account.bytes());
    let mut key = Vec::with_capacity(9 + id.len() + debit_account.len());
    key.extend_from_slice(&day_prefix(day));
    match parse_uuid(id) {
        Some(uuid) => {
            key.push(UUID);
            key.extend_from_slice(&uuid);
        }
        None => {
            key.push(OTHER);
            key.extend_from_slice(&(id.len() as u32).to_be_bytes());
            key.extend_from_slice(id);
        }
    }
    key.extend_from_slice(debit_account);
    key
}

/// The 16 bytes of a UUID in its canonical form, from which exactly that form can be made again.
fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    const STARTS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let text: &[u8; 36] = text.try_into().ok()?;
    if [8, 13, 18, 23].iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let mut uuid = [0; 16];
    for (byte, start) in uuid.iter_mut().zip(STARTS) {
        *byte = (hex_digit(text[start])? << 4) | hex_digit(text[start + 1])?;
    }
    Some(uuid)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
