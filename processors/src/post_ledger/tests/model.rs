//! Random streams against a reference model that is nothing but a map of balances.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use tidemill_schemas::account::{AccountAction, Sides};
use tidemill_schemas::{AccountKind, Instruction, InstructionKind, Verdict};

use super::world::{Pay, TASKS, World};

#[derive(Clone, Debug)]
enum Step {
    Open {
        account: usize,
        currency: &'static str,
        limit_minor: i64,
    },
    Freeze {
        account: usize,
        sides: Sides,
    },
    Thaw {
        account: usize,
        sides: Sides,
    },
    Close {
        account: usize,
    },
    Pay(Pay),
    /// One task reads up to so many instructions; whatever is left waits, as it would between batches.
    Deliver {
        task: u32,
        count: usize,
    },
}

const ACCOUNTS: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "nobody"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let account = 0..ACCOUNTS.len() - 1;
    let sides = || prop_oneof![Just(Sides::Debits), Just(Sides::Credits), Just(Sides::Both)];
    let currency = || prop_oneof![8 => Just("EUR"), 1 => Just("JPY")];
    let step = prop_oneof![
        5 => (account.clone(), currency(), 0..300_i64)
            .prop_map(|(account, currency, limit_minor)| Step::Open { account, currency, limit_minor }),
        1 => (account.clone(), sides()).prop_map(|(account, sides)| Step::Freeze { account, sides }),
        1 => (account.clone(), sides()).prop_map(|(account, sides)| Step::Thaw { account, sides }),
        1 => account.prop_map(|account| Step::Close { account }),
        20 => payment(currency()).prop_map(Step::Pay),
        8 => (0..TASKS, 1..4_usize).prop_map(|(task, count)| Step::Deliver { task, count }),
    ];
    prop::collection::vec(step, 1..120)
}

fn payment(currency: impl Strategy<Value = &'static str>) -> impl Strategy<Value = Pay> {
    let amounts = prop_oneof![1..150_i64, Just(50), Just(i64::MAX)];
    let verdict = prop_oneof![9 => Just(Verdict::Accept), 1 => Just(Verdict::Decline)];
    let accounts = (0..ACCOUNTS.len(), 1..ACCOUNTS.len());
    (0..25_u32, accounts, amounts, 0..3_i64, currency, verdict).prop_map(
        |(id, (from, offset), amount_minor, fee_minor, currency, verdict)| Pay {
            id: format!("p{id}"),
            from: ACCOUNTS[from].to_owned(),
            to: ACCOUNTS[(from + offset) % ACCOUNTS.len()].to_owned(),
            amount_minor,
            fee_minor,
            currency: currency.to_owned(),
            verdict,
        },
    )
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ModelAccount {
    currency: String,
    balance: i128,
    limit: i128,
    debits_frozen: bool,
    credits_frozen: bool,
    closed: bool,
}

#[derive(Default)]
struct Model {
    accounts: BTreeMap<String, ModelAccount>,
    first_hashes: HashMap<(String, String), String>,
    fees: i128,
    suspense: i128,
}

impl Model {
    fn pay(&mut self, pay: &Pay) -> &'static str {
        let identity = (pay.from.clone(), pay.id.clone());
        let declined = pay.verdict == Verdict::Decline;
        match self.first_hashes.get(&identity) {
            Some(hash) if *hash == pay.body_hash() => return "duplicate",
            Some(_) if declined => return "fraud_declined",
            Some(_) => return "idempotency_conflict",
            None => self.first_hashes.insert(identity, pay.body_hash()),
        };
        if declined {
            return "fraud_declined";
        }
        let Some(payer) = self.accounts.get_mut(&pay.from) else { return "debit_account_not_found" };
        let total = i128::from(pay.amount_minor) + i128::from(pay.fee_minor);
        if payer.currency != pay.currency {
            "currency_mismatch"
        } else if payer.closed {
            "debit_account_closed"
        } else if payer.debits_frozen {
            "debit_account_frozen"
        } else if payer.balance + payer.limit < total {
            "insufficient_funds"
        } else {
            payer.balance -= total;
            self.fees += i128::from(pay.fee_minor);
            "posted"
        }
    }

    fn apply(&mut self, instruction: &Instruction) {
        let account = self.accounts.get_mut(&instruction.account_id);
        let account = account
            .filter(|account| account.currency == instruction.currency && !account.closed && !account.credits_frozen);
        let amount = i128::from(instruction.amount_minor);
        let fee = i128::from(instruction.fee_minor);
        match (instruction.kind, account) {
            (InstructionKind::Credit, Some(account)) => account.balance += amount,
            (InstructionKind::Credit, None) => {}
            (InstructionKind::Return, Some(account)) => {
                account.balance += amount + fee;
                self.fees -= fee;
            }
            (InstructionKind::Return, None) => {
                self.suspense += amount + fee;
                self.fees -= fee;
            }
        }
    }

    fn request(&mut self, name: &str, action: &AccountAction) -> &'static str {
        if let AccountAction::Open { currency, limit_minor, .. } = action {
            if self.accounts.contains_key(name) {
                return "account_already_open";
            }
            let (currency, limit) = (currency.clone(), i128::from(*limit_minor));
            self.accounts.insert(name.to_owned(), ModelAccount { currency, limit, ..ModelAccount::default() });
            return "applied";
        }
        let Some(account) = self.accounts.get_mut(name) else { return "account_not_found" };
        match action {
            _ if account.closed => return "account_closed",
            AccountAction::Close if account.balance != 0 => return "account_not_empty",
            AccountAction::Close => account.closed = true,
            AccountAction::Freeze(sides) => freeze(account, *sides, true),
            AccountAction::Thaw(sides) => freeze(account, *sides, false),
            AccountAction::Open { .. } => unreachable!("answered above"),
        }
        "applied"
    }
}

fn freeze(account: &mut ModelAccount, sides: Sides, frozen: bool) {
    if sides != Sides::Credits {
        account.debits_frozen = frozen;
    }
    if sides != Sides::Debits {
        account.credits_frozen = frozen;
    }
}

fn take(step: &Step, world: &mut World, model: &mut Model) -> Result<(), TestCaseError> {
    let mut request = |account: usize, action: AccountAction| {
        let expected = model.request(ACCOUNTS[account], &action);
        prop_assert_eq!(world.request(ACCOUNTS[account], action), expected);
        Ok(())
    };
    match step.clone() {
        Step::Open { account, currency, limit_minor } => {
            let kind = AccountKind::Customer;
            request(account, AccountAction::Open { customer: None, currency: currency.to_owned(), kind, limit_minor })
        }
        Step::Freeze { account, sides } => request(account, AccountAction::Freeze(sides)),
        Step::Thaw { account, sides } => request(account, AccountAction::Thaw(sides)),
        Step::Close { account } => request(account, AccountAction::Close),
        Step::Pay(pay) => {
            let code = world.pay(&pay);
            // An amount near the end of the range is refused either way; which way depends on what is in transit.
            let code = if code == "amount_overflow" { "insufficient_funds" } else { code };
            prop_assert_eq!(code, model.pay(&pay), "{:?}", pay);
            Ok(())
        }
        Step::Deliver { task, count } => {
            for (instruction, code) in (0..count).map_while(|_| world.deliver(task)).collect::<Vec<_>>() {
                prop_assert_eq!(code, "applied");
                model.apply(&instruction);
            }
            Ok(())
        }
    }
}

fn compare(world: &World, model: &Model) -> Result<(), TestCaseError> {
    let customers = world.accounts().into_iter().filter(|(_, account)| !account.is_internal());
    let found: BTreeMap<String, ModelAccount> = customers
        .map(|(id, account)| {
            let found = ModelAccount {
                currency: account.currency,
                balance: i128::from(account.posted_minor),
                limit: i128::from(account.limit_minor),
                debits_frozen: account.debits_frozen,
                credits_frozen: account.credits_frozen,
                closed: account.closed,
            };
            (id, found)
        })
        .collect();
    prop_assert_eq!(&found, &model.accounts);
    prop_assert_eq!(world.internal_minor("fees.").values().sum::<i128>(), model.fees);
    prop_assert_eq!(world.internal_minor("suspense.").values().sum::<i128>(), model.suspense);
    Ok(())
}

#[test]
fn accounts_of_the_model_lie_in_both_tasks() {
    let tasks = ACCOUNTS.map(|account| tidemill_core::partition::partition_of(account.as_bytes(), TASKS));
    assert!(tasks.contains(&0) && tasks.contains(&1), "{tasks:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// The world audits itself after every record; here its answers and balances are compared with the model's.
    #[test]
    fn every_stream_agrees_with_the_model(steps in steps()) {
        let mut world = World::new("");
        let mut model = Model::default();
        for step in &steps {
            take(step, &mut world, &mut model)?;
            compare(&world, &model)?;
        }
        while let Some((instruction, _)) = (0..TASKS).find_map(|task| world.deliver(task)) {
            model.apply(&instruction);
        }
        compare(&world, &model)?;
        prop_assert!(world.in_transit_minor().values().all(|minor| *minor == 0));
    }
}
