//! The language of rules: one rhai expression per rule, over the names of [`scope_of`], without statements.
//!
//! Values are 64-bit integers, text, booleans, and literal arrays. Operators: `+ - * / %`, comparisons, `&& || !` and
//! `in`. Functions: `starts_with(text, text)`, `ends_with(text, text)`, `len(text)` in bytes, `abs(integer)`,
//! `min(integer, integer)`, `max(integer, integer)`. There are no loops, assignments, functions of one's own, modules,
//! output or clock. Values of different types are neither equal nor less nor greater. An arithmetic overflow or a
//! division by zero is an error of the rule, never a wrapped number.

use rhai::{AST, Array, Dynamic, Engine, EvalAltResult, ImmutableString, Scope};
use tidemill_core::EventTime;
use tidemill_core::diagnostic::nearest;
use tidemill_schemas::{CounterpartyProfile, PayerProfile, PaymentBody, PaymentType, ProfiledPayment, Remainder};

use crate::velocity::DAY_US;

/// Length of one rule in bytes.
const RULE_BYTES_MAX: usize = 2_000;
/// Steps of one evaluation. An expression within the length limit can take more.
const OPERATIONS_MAX: u64 = 300;
const EXPRESSION_DEPTH_MAX: usize = 32;
/// Length of a text that a rule makes, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;
const ARRAY_ITEMS_MAX: usize = 256;
/// Entries of an object literal, for which rules have no use. 0 would mean no limit.
const OBJECT_ENTRIES_MAX: usize = 1;

/// Words of rhai that are not part of the language of rules.
const REFUSED_WORDS: &str = "eval print debug Fn call curry this let const fn private if else switch do while until \
    loop for break continue return throw try catch import export is_def_var is_def_fn is_shared type_of";

const PAYER: &str = "payer";
const COUNTERPARTY_PROFILE: &str = "counterparty_profile";

/// A name and what it stands for.
type Property<T> = (&'static str, fn(&T) -> i64);

/// `payer` in a rule.
#[derive(Clone)]
struct Payer {
    profile: PayerProfile,
    at: EventTime,
}

const PAYER_PROPERTIES: [Property<Payer>; 11] = [
    ("payments_1h", |payer| payer.profile.payments_1h),
    ("amount_minor_1h", |payer| payer.profile.amount_minor_1h),
    ("payments_24h", |payer| payer.profile.payments_24h),
    ("amount_minor_24h", |payer| payer.profile.amount_minor_24h),
    ("payments_7d", |payer| payer.profile.payments_7d),
    ("amount_minor_7d", |payer| payer.profile.amount_minor_7d),
    ("payments_30d", |payer| payer.profile.payments_30d),
    ("amount_minor_30d", |payer| payer.profile.amount_minor_30d),
    ("amount_minor_max", |payer| payer.profile.amount_minor_max),
    ("counterparties_24h", |payer| payer.profile.counterparties_24h),
    ("known_days", |payer| known_days(payer.profile.first_seen_at, payer.at)),
];

/// `counterparty_profile` in a rule.
#[derive(Clone)]
struct Counterparty {
    profile: CounterpartyProfile,
    at: EventTime,
}

const COUNTERPARTY_PROPERTIES: [Property<Counterparty>; 6] = [
    ("payments_1h", |counterparty| counterparty.profile.payments_1h),
    ("payments_24h", |counterparty| counterparty.profile.payments_24h),
    ("amount_minor_24h", |counterparty| counterparty.profile.amount_minor_24h),
    ("payments_7d", |counterparty| counterparty.profile.payments_7d),
    ("risk_ppm", |counterparty| counterparty.profile.risk_ppm),
    ("known_days", |counterparty| known_days(counterparty.profile.first_seen_at, counterparty.at)),
];

/// Compiles rules and evaluates them.
pub(super) struct Language {
    engine: Engine,
    /// What a rule is compiled against and tried on.
    specimen: ProfiledPayment,
}

impl Language {
    pub(super) fn new() -> Self {
        let mut engine = Engine::new_raw();
        engine
            .set_max_operations(OPERATIONS_MAX)
            .set_max_expr_depths(EXPRESSION_DEPTH_MAX, 0)
            .set_max_call_levels(1)
            .set_max_functions(0)
            .set_max_string_size(TEXT_BYTES_MAX)
            .set_max_array_size(ARRAY_ITEMS_MAX)
            .set_max_map_size(OBJECT_ENTRIES_MAX)
            .set_strict_variables(true)
            .set_allow_anonymous_fn(false);
        for word in REFUSED_WORDS.split_whitespace() {
            engine.disable_symbol(word);
        }
        engine
            .register_fn("contains", |items: &mut Array, item: Dynamic| items.iter().any(|other| same(other, &item)))
            .register_fn("contains", |text: &str, part: &str| text.contains(part))
            .register_fn("starts_with", |text: &str, start: &str| text.starts_with(start))
            .register_fn("ends_with", |text: &str, end: &str| text.ends_with(end))
            .register_fn("len", |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX))
            .register_fn("abs", i64::saturating_abs)
            .register_fn("min", |one: i64, other: i64| one.min(other))
            .register_fn("max", |one: i64, other: i64| one.max(other));
        for (name, property) in PAYER_PROPERTIES {
            engine.register_get(name, move |payer: &mut Payer| property(payer));
        }
        for (name, property) in COUNTERPARTY_PROPERTIES {
            engine.register_get(name, move |counterparty: &mut Counterparty| property(counterparty));
        }
        Self { engine, specimen: specimen() }
    }

    /// The expression, tried once on a made-up payment, so that a misspelt function or a rule that is not true or
    /// false is found before the first payment.
    pub(super) fn compile(&self, text: &str) -> Result<AST, String> {
        if text.len() > RULE_BYTES_MAX {
            return Err(format!("the rule has {} bytes, of {RULE_BYTES_MAX} allowed", text.len()));
        }
        if let Some(fault) = unknown_property(text) {
            return Err(fault);
        }
        let mut scope = scope_of(&self.specimen);
        let ast = self.engine.compile_expression_with_scope(&scope, text).map_err(|error| error.to_string())?;
        match self.evaluate(&ast, &mut scope) {
            Ok(_) => Ok(ast),
            // Depends on the figures, which are made up.
            Err(error) if matches!(*error, EvalAltResult::ErrorArithmetic(..)) => Ok(ast),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether the rule hits. `scope` comes from [`scope_of`] and is left as it was: an expression assigns nothing.
    pub(super) fn evaluate(&self, rule: &AST, scope: &mut Scope<'_>) -> Result<bool, Box<EvalAltResult>> {
        self.engine.eval_ast_with_scope::<bool>(scope, rule)
    }
}

/// What rules can see of a payment.
pub(super) fn scope_of(profiled: &ProfiledPayment) -> Scope<'static> {
    let ProfiledPayment { payment, counterparty, payer } = profiled;
    let (category, country) = match &payment.merchant {
        Some(merchant) => (merchant.category.as_str(), merchant.country.as_str()),
        None => ("", ""),
    };
    let at = payment.created_at;
    let hour = at.micros().rem_euclid(DAY_US) / (DAY_US / 24);
    // 1970-01-01 was a Thursday, day 4 of ISO 8601.
    let weekday = (at.micros().div_euclid(DAY_US) + 3).rem_euclid(7) + 1;
    let mut scope = Scope::new();
    scope
        .push("amount_minor", payment.amount_minor)
        .push("currency", ImmutableString::from(payment.currency.as_str()))
        .push("channel", ImmutableString::from(payment.channel.as_str()))
        .push("payment_type", ImmutableString::from(payment.payment_type.name()))
        .push("merchant_category", ImmutableString::from(category))
        .push("merchant_country", ImmutableString::from(country))
        .push("counterparty", ImmutableString::from(payment.counterparty()))
        .push("hour", hour)
        .push("weekday", weekday)
        .push(PAYER, Payer { profile: payer.clone(), at })
        .push(COUNTERPARTY_PROFILE, Counterparty { profile: counterparty.clone(), at });
    scope
}

/// Whole days since the first payment; 0 for whoever is new.
fn known_days(first_seen_at: Option<EventTime>, at: EventTime) -> i64 {
    first_seen_at.map_or(0, |first| at.micros().saturating_sub(first.micros()).max(0) / DAY_US)
}

fn same(one: &Dynamic, other: &Dynamic) -> bool {
    match (one.as_int(), other.as_int()) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), Err(_)) => match (one.read_lock::<ImmutableString>(), other.read_lock::<ImmutableString>()) {
            (Some(one), Some(other)) => *one == *other,
            _ => false,
        },
        _ => false,
    }
}

fn specimen() -> ProfiledPayment {
    ProfiledPayment {
        payment: PaymentBody {
            payment_id: String::new(),
            source: String::new(),
            payment_type: PaymentType::Transfer,
            debit_account: String::new(),
            credit_account: String::new(),
            amount_minor: 1,
            currency: String::new(),
            created_at: EventTime::EARLIEST,
            channel: String::new(),
            merchant: None,
            customer: None,
            description: None,
            metadata: Default::default(),
            body_hash: String::new(),
            reference: None,
            expires_at: None,
            remainder: Remainder::Release,
            reason: None,
            quote: None,
            card: None,
            execute_at: None,
            retry_until: None,
            debits: Default::default(),
            credits: Default::default(),
        },
        counterparty: CounterpartyProfile::default(),
        payer: PayerProfile::default(),
    }
}

/// A property of a profile that does not exist. rhai itself would find it only when a payment gets that far.
fn unknown_property(text: &str) -> Option<String> {
    let payer = PAYER_PROPERTIES.map(|(name, _)| name);
    let counterparty = COUNTERPARTY_PROPERTIES.map(|(name, _)| name);
    let words = words(text);
    words.windows(3).find_map(|window| {
        let [(_, object), (_, "."), (position, property)] = window else { return None };
        let known: &[&str] = match *object {
            PAYER => &payer,
            COUNTERPARTY_PROFILE => &counterparty,
            _ => return None,
        };
        if known.contains(property) {
            return None;
        }
        let meant = nearest(property, known.iter().copied());
        let meant = meant.map(|name| format!("; did you mean `{object}.{name}`?")).unwrap_or_default();
        Some(format!("`{object}` has no property `{property}` (byte {position}){meant}"))
    })
}

/// Names and single characters with where they begin, without white space and without what stands in quotes.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            '"' | '`' | '\'' => quoted_length(rest, first),
            _ if is_name(first) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        if !first.is_whitespace() {
            words.push((text.len() - rest.len(), word));
        }
        rest = after;
    }
    words
}

/// Length of the text in quotes that `text` begins with, up to its end where the closing quote is missing.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return index + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}
