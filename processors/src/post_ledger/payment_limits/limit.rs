//! One limit, checked and ready to judge by.

use tidemill_core::{Currency, EventTime};
use tidemill_schemas::{Merchant, PaymentLimit, PaymentType};

use super::super::codes::PaymentCode;
use super::Asked;
use super::window::Window;

/// A field of a limit that cannot be used, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FieldError(pub(super) &'static str, pub(super) &'static str);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) effective_from: EventTime,
    pub(super) covers: Covers,
    allowed: Merchants,
    blocked: Merchants,
    pub(super) bound: Bound,
}

/// Which payments a limit is for: those that are in every list that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Covers {
    pub(super) accounts: Vec<String>,
    pub(super) customers: Vec<String>,
    pub(super) cards: Vec<String>,
    counterparties: Vec<String>,
    categories: Vec<String>,
    payment_types: Vec<PaymentType>,
    /// Empty: every currency.
    currency: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Merchants {
    ids: Vec<String>,
    categories: Vec<String>,
    countries: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Only says which merchants are allowed.
    None,
    /// Of a single payment.
    Payment {
        amount_minor_max: i64,
    },
    Window(Counter),
}

/// What is counted, and up to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) window: Window,
    /// Names the kind of window: what has been used in one counts for nothing in one of another kind.
    pub(super) label: String,
    pub(super) per: Per,
    pub(super) amount_minor_max: Option<i64>,
    pub(super) payments_max: Option<i64>,
    pub(super) gives_back: GivesBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Per {
    Account,
    Card,
    Counterparty,
    PaymentType,
}

/// A set of types of payment, as bits: of those that give money back, which give back what was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct GivesBack(u8);

impl GivesBack {
    fn bit(payment_type: PaymentType) -> u8 {
        match payment_type {
            PaymentType::Reverse => 1,
            PaymentType::Refund => 2,
            PaymentType::Chargeback => 4,
            _ => 0,
        }
    }

    pub(super) fn includes(self, payment_type: PaymentType) -> bool {
        self.0 & Self::bit(payment_type) != 0
    }
}

impl Limit {
    pub(super) fn compile(limit: &PaymentLimit) -> Result<Self, FieldError> {
        for (field, value) in [("name", &limit.name), ("version", &limit.version)] {
            if value.is_empty() {
                return Err(FieldError(field, "must not be empty"));
            }
        }
        Ok(Self {
            name: limit.name.clone(),
            version: limit.version.clone(),
            effective_from: limit.effective_from,
            covers: Covers::compile(limit)?,
            allowed: Merchants {
                ids: names("allowed_merchants", &limit.allowed_merchants)?,
                categories: names("allowed_categories", &limit.allowed_categories)?,
                countries: names("allowed_countries", &limit.allowed_countries)?,
            },
            blocked: Merchants {
                ids: names("blocked_merchants", &limit.blocked_merchants)?,
                categories: names("blocked_categories", &limit.blocked_categories)?,
                countries: names("blocked_countries", &limit.blocked_countries)?,
            },
            bound: Bound::compile(limit)?,
        })
    }

    pub(super) fn covers(&self, asked: &Asked<'_>) -> bool {
        let is_counted_by_card = matches!(&self.bound, Bound::Window(counter) if counter.per == Per::Card);
        self.covers.covers(asked) && (asked.card.is_some() || !is_counted_by_card)
    }

    /// The first rule about merchants that the payment breaks.
    pub(super) fn restricts(&self, merchant: Option<&Merchant>) -> Option<PaymentCode> {
        let [id, category, country] = merchant.map_or([""; 3], |it| [&it.id, &it.category, &it.country]);
        let rules = [
            (&self.allowed.ids, &self.blocked.ids, id, PaymentCode::MerchantNotAllowed),
            (&self.allowed.categories, &self.blocked.categories, category, PaymentCode::MerchantCategoryNotAllowed),
            (&self.allowed.countries, &self.blocked.countries, country, PaymentCode::MerchantCountryNotAllowed),
        ];
        let is_broken = |allowed: &[String], blocked: &[String], name: &str| {
            (!allowed.is_empty() && !has(allowed, name)) || has(blocked, name)
        };
        rules
            .into_iter()
            .find(|(allowed, blocked, name, _)| is_broken(allowed, blocked, name))
            .map(|(_, _, _, code)| code)
    }
}

impl Covers {
    fn compile(limit: &PaymentLimit) -> Result<Self, FieldError> {
        if !limit.currency.is_empty() && Currency::parse(&limit.currency).is_none() {
            return Err(FieldError("currency", "is no ISO 4217 currency with a minor unit"));
        }
        let types =
            limit.payment_types.iter().map(|name| PaymentType::parse(name).filter(|found| can_be_limited(*found)));
        let types: Option<Vec<PaymentType>> = types.collect();
        Ok(Self {
            accounts: names("accounts", &limit.accounts)?,
            customers: names("customers", &limit.customers)?,
            cards: names("cards", &limit.cards)?,
            counterparties: names("counterparties", &limit.counterparties)?,
            categories: names("categories", &limit.categories)?,
            payment_types: types.ok_or(FieldError(
                "payment_types",
                "names no type that takes money; what follows from an authorisation is covered by authorise",
            ))?,
            currency: limit.currency.clone(),
        })
    }

    fn covers(&self, asked: &Asked<'_>) -> bool {
        let any = |names: &[String], name: Option<&str>| names.is_empty() || name.is_some_and(|name| has(names, name));
        let is_of_type = match self.payment_types.is_empty() {
            true => is_asked_by_payer(asked.payment_type),
            false => self.payment_types.contains(&asked.payment_type),
        };
        is_of_type
            && (self.currency.is_empty() || self.currency == asked.currency)
            && any(&self.accounts, Some(asked.account))
            && any(&self.customers, asked.customer)
            && any(&self.cards, asked.card)
            && any(&self.counterparties, Some(asked.counterparty))
            && any(&self.categories, asked.merchant.map(|merchant| merchant.category.as_str()))
    }
}

impl Bound {
    fn compile(limit: &PaymentLimit) -> Result<Self, FieldError> {
        let maxima = [("amount_minor_max", limit.amount_minor_max), ("payments_max", limit.payments_max)];
        for (field, max) in maxima {
            if max.is_some_and(|max| max < 0) {
                return Err(FieldError(field, "must not be negative"));
            }
            if max.is_some() && limit.window.is_empty() {
                return Err(FieldError("window", "must say over what time it is counted"));
            }
        }
        if limit.amount_minor_max.is_some() && limit.currency.is_empty() {
            return Err(FieldError("currency", "must say in what currency the amount is"));
        }
        let is_used =
            |field, value: bool| if value { Err(FieldError(field, "has no meaning for this window")) } else { Ok(()) };
        is_used("zone", !limit.zone.is_empty() && !["day", "week", "month"].contains(&limit.window.as_str()))?;
        is_used("week_starts_on", !limit.week_starts_on.is_empty() && limit.window != "week")?;
        is_used("window_minutes", limit.window_minutes.is_some() && limit.window != "rolling")?;
        if limit.window.is_empty() || limit.window == "payment" {
            is_used("per", !limit.per.is_empty())?;
            is_used("gives_back", !limit.gives_back.is_empty())?;
            is_used("payments_max", limit.payments_max.is_some())?;
        }
        if limit.window.is_empty() {
            return Ok(Self::None);
        }
        if limit.amount_minor_max.is_none() && limit.payments_max.is_none() {
            return Err(FieldError("amount_minor_max", "must be given, or payments_max"));
        }
        if let ("payment", Some(amount_minor_max)) = (limit.window.as_str(), limit.amount_minor_max) {
            return Ok(Self::Payment { amount_minor_max });
        }
        let window = Window::compile(limit)?;
        Ok(Self::Window(Counter {
            label: window.label(),
            window,
            per: match limit.per.as_str() {
                "" | "account" => Per::Account,
                "card" => Per::Card,
                "counterparty" => Per::Counterparty,
                "payment_type" => Per::PaymentType,
                // A customer's accounts belong to several tasks, none of which sees the others.
                "customer" => {
                    return Err(FieldError("per", "cannot be customer; see customers, and 0025 of the decisions"));
                }
                _ => return Err(FieldError("per", "must be account, card, counterparty or payment_type")),
            },
            amount_minor_max: limit.amount_minor_max,
            payments_max: limit.payments_max,
            gives_back: gives_back(&limit.gives_back)?,
        }))
    }
}

fn gives_back(names: &[String]) -> Result<GivesBack, FieldError> {
    let mut all = GivesBack::default();
    for name in names {
        let bit = PaymentType::parse(name).map(GivesBack::bit).filter(|bit| *bit != 0);
        all.0 |= bit.ok_or(FieldError("gives_back", "must be of reverse, refund and chargeback"))?;
    }
    Ok(all)
}

/// What a limit that names no types is for.
fn is_asked_by_payer(payment_type: PaymentType) -> bool {
    payment_type.is_screened() || payment_type == PaymentType::ForcePost
}

/// Increments and captures are counted with their authorisation.
fn can_be_limited(payment_type: PaymentType) -> bool {
    use PaymentType as Type;
    !matches!(payment_type, Type::Increment | Type::Capture | Type::Void | Type::Cancel)
}

fn names(field: &'static str, names: &[String]) -> Result<Vec<String>, FieldError> {
    match names.iter().any(String::is_empty) {
        true => Err(FieldError(field, "must not hold an empty name")),
        false => Ok(names.to_vec()),
    }
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|known| known == name)
}
