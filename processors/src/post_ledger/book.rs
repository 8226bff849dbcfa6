//! The accounts one record touches: lines are posted here and written all together, or not at all.

use tidemill_core::{Context, EventTime, Meta, Reject, State, StateError};
use tidemill_schemas::{EntryKind, LedgerEntry};

use super::accounts::{ACCOUNTS, Account, Internal};
use super::codes::LEDGER_UNBALANCED;

/// What all lines of one record have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Voucher<'a> {
    pub(super) task: u32,
    pub(super) payment_id: &'a str,
    pub(super) source: &'a str,
    pub(super) currency: &'a str,
    /// What the fee was priced by; only its entries say so.
    pub(super) fee_schedule: Option<&'a str>,
    pub(super) event_time: EventTime,
}

/// An account in a [`Book`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot(usize);

/// One journal line: `account` changes by `amount_minor`, `contra` by the opposite.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) account: Slot,
    pub(super) contra: Slot,
    pub(super) kind: EntryKind,
    pub(super) amount_minor: i128,
    pub(super) leg_no: i32,
}

/// A balance would leave 64 bits. The book that says so must not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

#[derive(Debug)]
pub(super) struct Book<'a> {
    voucher: Voucher<'a>,
    touched: Vec<Touched>,
    entries: Vec<LedgerEntry>,
}

#[derive(Debug)]
struct Touched {
    id: String,
    account: Account,
    posted_before_minor: i64,
}

impl<'a> Book<'a> {
    pub(super) fn new(voucher: Voucher<'a>) -> Self {
        Self { voucher, touched: Vec::with_capacity(4), entries: Vec::with_capacity(2) }
    }

    pub(super) fn add(&mut self, id: String, account: Account) -> Slot {
        self.touched.push(Touched { id, posted_before_minor: account.posted_minor, account });
        Slot(self.touched.len() - 1)
    }

    /// An internal account of the task, opened on first use.
    pub(super) fn add_internal(&mut self, internal: Internal, state: &mut dyn State) -> Result<Slot, StateError> {
        let Voucher { task, currency, event_time, .. } = self.voucher;
        let id = internal.id(task, currency);
        let account = ACCOUNTS
            .get(state, id.as_bytes())?
            .unwrap_or_else(|| Account::open(None, internal.kind(), currency.to_owned(), 0, event_time));
        Ok(self.add(id, account))
    }

    pub(super) fn account(&self, slot: Slot) -> &Account {
        &self.touched[slot.0].account
    }

    /// Posts one line and writes its entry. Numbers the change on both accounts.
    pub(super) fn post(&mut self, line: Line) -> Result<(), Overflow> {
        let balance_after_minor = self.change(line.account, line.amount_minor)?;
        self.change(line.contra, -line.amount_minor)?;
        let Touched { id, account, .. } = &self.touched[line.account.0];
        self.entries.push(LedgerEntry {
            meta: Meta::default(),
            account_id: id.clone(),
            seq: account.seq,
            payment_id: self.voucher.payment_id.to_owned(),
            source: self.voucher.source.to_owned(),
            kind: line.kind,
            amount_minor: i64::try_from(line.amount_minor).map_err(|_| Overflow)?,
            currency: self.voucher.currency.to_owned(),
            balance_after_minor,
            contra_account_id: self.touched[line.contra.0].id.clone(),
            leg_no: line.leg_no,
            fee_schedule: self.voucher.fee_schedule.filter(|_| line.kind == EntryKind::Fee).map(str::to_owned),
            event_time: self.voucher.event_time,
        });
        Ok(())
    }

    fn change(&mut self, slot: Slot, amount_minor: i128) -> Result<i64, Overflow> {
        let account = &mut self.touched[slot.0].account;
        let posted = i128::from(account.posted_minor).checked_add(amount_minor).ok_or(Overflow)?;
        account.posted_minor = i64::try_from(posted).map_err(|_| Overflow)?;
        account.seq = account.seq.checked_add(1).ok_or(Overflow)?;
        account.last_event_time = account.last_event_time.max(self.voucher.event_time);
        Ok(account.posted_minor)
    }

    /// Writes accounts, entries and balances, after a last look at whether they add up.
    pub(super) fn write(self, context: &mut Context<'_>) -> Result<(), Reject> {
        if !self.is_balanced() {
            return Err(Reject::new(&LEDGER_UNBALANCED));
        }
        for entry in self.entries {
            context.effects.emit("entries", Box::new(entry) as tidemill_core::AnyEvent);
        }
        for Touched { id, account, .. } in self.touched {
            ACCOUNTS.put(context.state, id.as_bytes(), &account)?;
            context.effects.emit_latest("balances", Box::new(account.balance(&id)) as tidemill_core::AnyEvent);
        }
        Ok(())
    }

    /// Whether the changes of all accounts of each currency cancel out. Looks at the balances alone, not at the lines
    /// that changed them, so that a mistake in posting cannot hide itself.
    fn is_balanced(&self) -> bool {
        self.touched.iter().all(|first| {
            let same_currency = self.touched.iter().filter(|other| other.account.currency == first.account.currency);
            let changes = same_currency
                .map(|other| i128::from(other.account.posted_minor) - i128::from(other.posted_before_minor));
            changes.sum::<i128>() == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use tidemill_schemas::AccountKind;

    use super::*;

    fn book() -> (Book<'static>, Slot, Slot) {
        let event_time = EventTime::EARLIEST;
        let voucher =
            Voucher { task: 0, payment_id: "p", source: "s", currency: "EUR", fee_schedule: None, event_time };
        let mut book = Book::new(voucher);
        let open = || Account::open(None, AccountKind::Customer, "EUR".to_owned(), 0, event_time);
        let account = book.add("a".to_owned(), open());
        let contra = book.add("b".to_owned(), open());
        (book, account, contra)
    }

    fn line(account: Slot, contra: Slot, amount_minor: i128) -> Line {
        Line { account, contra, kind: EntryKind::Debit, amount_minor, leg_no: 1 }
    }

    #[test]
    fn lines_balance_and_a_tampered_balance_is_seen() {
        let (mut book, account, contra) = book();
        book.post(line(account, contra, -5)).expect("in range");
        assert!(book.is_balanced());
        book.touched[1].account.posted_minor += 1;
        assert!(!book.is_balanced());
    }

    #[test]
    fn two_currencies_never_cancel_out() {
        let (mut book, account, contra) = book();
        book.post(line(account, contra, -5)).expect("in range");
        book.touched[1].account.currency = "JPY".to_owned();
        assert!(!book.is_balanced());
    }

    #[test]
    fn balances_stay_within_64_bits() {
        let (mut book, account, contra) = book();
        book.post(line(account, contra, -i128::from(i64::MAX))).expect("in range");
        assert_eq!(book.post(line(account, contra, -2)), Err(Overflow), "the account would go below the range");
        let (mut book, account, contra) = self::book();
        book.post(line(account, contra, -i128::from(i64::MAX))).expect("in range");
        assert_eq!(book.post(line(account, contra, -1)), Err(Overflow), "the contra account would go above the range");
    }
}
