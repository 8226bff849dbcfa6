//! What has been used of limits, and by which payments.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidemill_core::{EventTime, State, StateError, StateValue, Store};
use tidemill_schemas::Merchant;

use super::super::accounts::CurrencyCode;
use super::Asked;
use super::limit::{Counter, GivesBack, Limit, Per};
use super::window::{NEVER, Window};
use crate::age_queue::Bytes;

/// Keyed by account, limit, kind of window and what is counted by; see [`Usage::key`].
pub const LIMIT_USAGES: Store<Usage> = Store::new("limit_usages");
/// Keyed by the payment's identity: what it has used, for as long as its outcome is kept.
pub const LIMITED_PAYMENTS: Store<LimitedPayment> = Store::new("limited_payments");

/// How many instants of a rolling window are told apart. Beyond, the oldest are counted a little longer than they should
/// be: the window then refuses early, never late.
const INSTANTS_MAX: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub limit: String,
    pub window: String,
    /// Of what within the account, for people: a card is masked.
    pub subject: String,
    pub currency: CurrencyCode,
    /// Which window it is about. Never runs backwards: a payment that is dated before it is counted in it.
    pub period: i64,
    pub ends_at: EventTime,
    pub amount_minor: i128,
    pub payments: i64,
    /// Of a rolling window, the first is the oldest.
    pub instants: VecDeque<Instant>,
}

/// What was used at one instant of a rolling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instant {
    pub at: EventTime,
    pub amount_minor: i128,
    pub payments: i64,
}

impl StateValue for Usage {
    const VERSION: u8 = 1;
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitedPayment {
    pub uses: Vec<Use>,
    /// Of an authorisation.
    pub means: Option<Means>,
}

/// With what and to whom an authorisation pays. What follows from it is judged by this, whatever it names itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Means {
    pub card: Option<String>,
    pub merchant: Option<Merchant>,
}

impl StateValue for LimitedPayment {
    const VERSION: u8 = 1;
}

/// What one payment uses of one limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    pub(crate) usage_key: Bytes,
    /// The window it was counted in.
    pub period: i64,
    pub amount_minor: i64,
    pub payments: i64,
    pub gives_back: GivesBack,
}

impl Usage {
    fn new(limit: &Limit, counter: &Counter, asked: &Asked<'_>) -> Self {
        Self {
            limit: limit.name.clone(),
            window: counter.label.clone(),
            subject: match counter.per {
                Per::Account => String::new(),
                Per::Card => format!("card {}", masked(asked.card.unwrap_or_default())),
                Per::Counterparty => asked.counterparty.to_owned(),
                Per::PaymentType => asked.payment_type.name().to_owned(),
            },
            currency: CurrencyCode::new(asked.currency),
            period: i64::MIN,
            ends_at: NEVER,
            amount_minor: 0,
            payments: 0,
            instants: VecDeque::new(),
        }
    }

    pub(super) fn key(limit: &Limit, counter: &Counter, asked: &Asked<'_>) -> Vec<u8> {
        let mut key = Self::prefix(asked.account);
        put_part(&mut key, &limit.name);
        put_part(&mut key, &counter.label);
        let subject = match counter.per {
            Per::Account => return key,
            Per::Card => asked.card.unwrap_or_default(),
            Per::Counterparty => asked.counterparty,
            Per::PaymentType => asked.payment_type.name(),
        };
        // A digest, so that no key holds a card, and none is longer than others.
        key.extend_from_slice(&Sha256::digest(subject.as_bytes())[..16]);
        key
    }

    /// What the keys of an account's usages begin with.
    pub fn prefix(account: &str) -> Vec<u8> {
        let mut key = Vec::with_capacity(account.len() + 64);
        put_part(&mut key, account);
        key
    }

    /// As it stands at the moment, in the window of the payment or a later one.
    pub(super) fn read(
        key: &[u8],
        limit: &Limit,
        counter: &Counter,
        asked: &Asked<'_>,
        state: &mut dyn State,
    ) -> Result<Self, StateError> {
        let mut usage = LIMIT_USAGES.get(state, key)?.unwrap_or_else(|| Self::new(limit, counter, asked));
        usage.advance(&counter.window, asked.at);
        Ok(usage)
    }

    pub(super) fn advance(&mut self, window: &Window, at: EventTime) {
        let period = window.period(at);
        if period <= self.period {
            return;
        }
        self.period = period;
        self.ends_at = window.ends_at(period);
        match window {
            Window::Rolling { micros } => {
                let begins_after = EventTime(period.saturating_sub(*micros));
                while let Some(oldest) = self.instants.front().filter(|oldest| oldest.at <= begins_after) {
                    self.amount_minor -= oldest.amount_minor;
                    self.payments -= oldest.payments;
                    self.instants.pop_front();
                }
            }
            Window::Calendar { .. } | Window::Lifetime => (self.amount_minor, self.payments) = (0, 0),
        }
    }

    pub(super) fn add(&mut self, window: &Window, amount_minor: i64, payments: i64) {
        self.amount_minor += i128::from(amount_minor);
        self.payments += payments;
        if !matches!(window, Window::Rolling { .. }) {
            return;
        }
        let at = EventTime(self.period);
        match self.instants.back_mut().filter(|last| last.at == at) {
            Some(last) => {
                last.amount_minor += i128::from(amount_minor);
                last.payments += payments;
            }
            None => self.instants.push_back(Instant { at, amount_minor: i128::from(amount_minor), payments }),
        }
        if self.instants.len() > INSTANTS_MAX
            && let Some(oldest) = self.instants.pop_front()
            && let Some(next) = self.instants.front_mut()
        {
            next.amount_minor += oldest.amount_minor;
            next.payments += oldest.payments;
        }
    }

    /// Takes back what was used in one window, as far as that is still the present one.
    fn take_back(&mut self, period: i64, amount_minor: i64, payments: i64) {
        let amount_minor = i128::from(amount_minor);
        if let Some(instant) = self.instants.iter_mut().find(|instant| instant.at.0 == period) {
            instant.amount_minor -= amount_minor;
            instant.payments -= payments;
        } else if !self.instants.is_empty() || period != self.period {
            return;
        }
        self.amount_minor -= amount_minor;
        self.payments -= payments;
    }

    /// When there will be more left than now.
    pub(super) fn leaves_more_at(&self, window: &Window) -> EventTime {
        match window {
            Window::Rolling { micros } => {
                let oldest = self.instants.iter().find(|instant| instant.amount_minor > 0 || instant.payments > 0);
                oldest.map_or(self.ends_at, |oldest| EventTime(oldest.at.0.saturating_add(*micros)))
            }
            Window::Calendar { .. } | Window::Lifetime => self.ends_at,
        }
    }
}

/// Of what a payment has used, how much is given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    All,
    Minor(i64),
}

impl LimitedPayment {
    pub(super) fn add(&mut self, new: Use) {
        let same = |known: &&mut Use| known.usage_key == new.usage_key && known.period == new.period;
        match self.uses.iter_mut().find(same) {
            Some(known) => {
                known.amount_minor += new.amount_minor;
                known.payments += new.payments;
            }
            None => self.uses.push(new),
        }
    }

    /// Gives back a part of what is left in all limits that `is_meant` names: what was used last first, and with the last
    /// of the amount the payment itself.
    pub(super) fn give_back(
        &mut self,
        part: Part,
        is_meant: impl Fn(&Use) -> bool,
        state: &mut dyn State,
    ) -> Result<(), StateError> {
        let mut shares = Shares::new(part);
        for used in self.uses.iter_mut().rev().filter(|used| is_meant(used)) {
            let amount_minor = shares.take(used);
            let payments = if used.amount_minor == 0 { std::mem::take(&mut used.payments) } else { 0 };
            let key = &used.usage_key.0;
            if let Some(mut usage) = LIMIT_USAGES.get(state, key)? {
                usage.take_back(used.period, amount_minor, payments);
                LIMIT_USAGES.put(state, key, &usage)?;
            }
        }
        Ok(())
    }

    /// Splits off what is taken of it: what was used first, and with it the payment.
    pub(super) fn split(&mut self, amount_minor: i64) -> Self {
        let mut shares = Shares::new(Part::Minor(amount_minor));
        let split = |used: &mut Use| {
            let amount_minor = shares.take(used);
            let payments = if amount_minor > 0 { std::mem::take(&mut used.payments) } else { 0 };
            (amount_minor > 0).then(|| Use { amount_minor, payments, ..used.clone() })
        };
        Self { uses: self.uses.iter_mut().filter_map(split).collect(), means: None }
    }
}

/// A payment can have used one limit in several windows: an authorisation that was raised the day after. A part of it is
/// one amount over all of them.
struct Shares {
    part: Part,
    left_minor: Vec<(Bytes, i64)>,
}

impl Shares {
    fn new(part: Part) -> Self {
        Self { part, left_minor: Vec::new() }
    }

    fn take(&mut self, used: &mut Use) -> i64 {
        let Part::Minor(part_minor) = self.part else { return std::mem::take(&mut used.amount_minor) };
        let place = self.left_minor.iter().position(|(key, _)| *key == used.usage_key).unwrap_or_else(|| {
            self.left_minor.push((used.usage_key.clone(), part_minor));
            self.left_minor.len() - 1
        });
        let left_minor = &mut self.left_minor[place].1;
        let amount_minor = used.amount_minor.min(*left_minor);
        *left_minor -= amount_minor;
        used.amount_minor -= amount_minor;
        amount_minor
    }
}

/// The last four characters of a name that has more than twice as many.
fn masked(name: &str) -> String {
    let length = name.chars().count();
    let shown = if length > 8 { 4 } else { 0 };
    name.chars().skip(length - shown).fold("…".to_owned(), |mut masked, character| {
        masked.push(character);
        masked
    })
}

fn put_part(key: &mut Vec<u8>, part: &str) {
    key.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
    key.extend_from_slice(part.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn a_card_is_masked() {
        for (card, expected) in [("card-0001-7788", "…7788"), ("card-123", "…"), ("", "…"), ("kärtchen-ÄÖÜß", "…ÄÖÜß")]
        {
            assert_eq!(masked(card), expected);
        }
    }
}
