//! Tells customers what became of their payments: one notification for each channel they want to be told on.
//!
//! - Input: `payment_status`, keyed by debit account; ends here. Store: none.
//! - Output: port `notifications`, keyed by customer. `notification_id` is
//!   `<source>/<payment_id>/<digest>/<category>/<channel>`, so that a payment gives at most one per category and channel.
//!   The digest is the first 12 hexadecimal digits of SHA-256 over the payment's identity: ids are unique per debit
//!   account only, and an account number does not belong in a message id.
//! - Category: a posted payment is `payment_posted`, a rejected one `payment_rejected`, one that came back after its
//!   outcome `payment_returned`. What had to wait is posted or rejected by its update. Repeats, pending payments, payments that are not the payer's own (deposits, refunds, chargebacks and
//!   the like), payments without a customer, and categories that the settings leave out give nothing.
//! - Preferences: those in force at the event time of the status, from the reference table `customer_preferences`; the
//!   defaults of the settings where the customer has none. A customer without channels gets nothing. A category that
//!   the customer has muted gives the same notifications with status `suppressed`, reason `muted_by_customer` and no
//!   text, so that it can be shown why nobody was told.
//! - Language: the template for the customer's language, for its primary subtag (`de` for `de-CH`), or the default.
//! - Accounts show their last 4 characters only.
//! - Codes: none.
//!
//! Example: a posted payment of a customer with channels `email` and `push` gives
//! `bank-a/p-1/d59a922464b3/payment_posted/email` and `bank-a/p-1/d59a922464b3/payment_posted/push`.

mod preferences;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tidemill_core::processor::{MovesMoney, Signature};
use tidemill_core::reject::BUG;
use tidemill_core::settings::SettingsError;
use tidemill_core::{
    AnyEvent, Context, Flow, Meta, Outcome, PortSpec, Processor, ProcessorSpec, ReferenceSpec, ReferenceTable, Reject,
    Settings,
};
use tidemill_schemas::payment::identity;
use tidemill_schemas::{CustomerPreferences, Notification, PaymentStatus, PaymentType, StatusCode, StatusPhase};

use self::preferences::{Preferences, check_words};
use self::template::Template;

pub static SPEC: ProcessorSpec = ProcessorSpec {
    name: "fan_out_notifications",
    summary: "Tells customers what became of their payments, once for each channel they want.",
    signatures: &[Signature { takes: PaymentStatus::KIND, gives: None }],
    stores: &[],
    ports: &[PortSpec {
        name: NOTIFICATIONS,
        kind: Notification::KIND,
        summary: "One message on one channel, or the note that it was suppressed.",
    }],
    references: &[ReferenceSpec {
        name: PREFERENCES,
        kind: CustomerPreferences::KIND,
        summary: "Channels, muted categories and language of each customer.",
        build: |_| Ok(Box::new(Preferences::default()) as Box<dyn ReferenceTable>),
    }],
    codes: &[],
    decodes: None,
    moves_money: MovesMoney::No,
    example: EXAMPLE,
    build,
};

const NOTIFICATIONS: &str = "notifications";
const PREFERENCES: &str = "customer_preferences";

const POSTED: &str = "payment_posted";
const REJECTED: &str = "payment_rejected";
const RETURNED: &str = "payment_returned";
const CATEGORIES: [&str; 3] = [POSTED, REJECTED, RETURNED];
const CHANNELS: [&str; 4] = ["email", "sms", "push", "webhook"];

const EXAMPLE: &str = r#"
channels = ["email"]
categories = ["payment_posted", "payment_rejected", "payment_returned"]
language = "en"

[[templates]]
category = "payment_posted"
language = "en"
subject = "You paid {amount} {currency}"
body = "Your payment {payment_id} of {amount} {currency} from account {debit_account} has been made."

[[templates]]
category = "payment_rejected"
language = "en"
subject = "Your payment of {amount} {currency} was not made"
body = "Your payment {payment_id} of {amount} {currency} from account {debit_account} was not made: {reason}."

[[templates]]
category = "payment_returned"
language = "en"
subject = "Your payment of {amount} {currency} came back"
body = "Your payment {payment_id} of {amount} {currency} came back to account {debit_account}: {reason}."
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// For customers without preferences: `email`, `sms`, `push`, `webhook`.
    #[serde(default = "default_channels")]
    channels: Vec<String>,
    /// Categories that are told at all.
    #[serde(default = "default_categories")]
    categories: Vec<String>,
    /// BCP 47. Every category has a template in it.
    #[serde(default = "default_language")]
    language: String,
    templates: Vec<TemplateConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateConfig {
    category: String,
    language: String,
    subject: String,
    body: String,
}

fn default_channels() -> Vec<String> {
    vec!["email".to_owned()]
}

fn default_categories() -> Vec<String> {
    CATEGORIES.map(str::to_owned).to_vec()
}

fn default_language() -> String {
    "en".to_owned()
}

fn build(settings: &Settings) -> Result<Box<dyn Processor>, Vec<SettingsError>> {
    let config: Config = settings.parse()?;
    Ok(Box::new(FanOutNotifications::new(config)?))
}

struct FanOutNotifications {
    /// What holds for a customer without preferences.
    defaults: CustomerPreferences,
    categories: Vec<String>,
    /// Category, then language in lower case.
    messages: BTreeMap<String, BTreeMap<String, Message>>,
}

struct Message {
    /// `<category>.<language>`.
    name: String,
    subject: Template,
    body: Template,
}

impl FanOutNotifications {
    fn new(config: Config) -> Result<Self, Vec<SettingsError>> {
        let mut errors = Vec::new();
        let mut check = |key: &str, result: Result<(), String>| {
            errors.extend(result.err().map(|message| SettingsError::new(key, message)));
        };
        check("channels", check_words("channel", &config.channels, &CHANNELS));
        check("categories", check_words("category", &config.categories, &CATEGORIES));
        let mut messages: BTreeMap<String, BTreeMap<String, Message>> = BTreeMap::new();
        for (index, template) in config.templates.iter().enumerate() {
            let key = |field: &str| format!("templates[{index}].{field}");
            let category = std::slice::from_ref(&template.category);
            check(&key("category"), check_words("category", category, &CATEGORIES));
            let subject = Template::parse(&template.subject).map_err(|message| check(&key("subject"), Err(message)));
            let body = Template::parse(&template.body).map_err(|message| check(&key("body"), Err(message)));
            let (Ok(subject), Ok(body)) = (subject, body) else { continue };
            let language = template.language.to_ascii_lowercase();
            let name = format!("{}.{language}", template.category);
            let languages = messages.entry(template.category.clone()).or_default();
            if languages.insert(language, Message { name, subject, body }).is_some() {
                check(&key("language"), Err("there is a template for this category and language already".to_owned()));
            }
        }
        let language = config.language.to_ascii_lowercase();
        for category in &config.categories {
            let is_told = messages.get(category).is_some_and(|languages| languages.contains_key(&language));
            if !is_told && errors.is_empty() {
                let message = format!("category `{category}` has no template in the default language `{language}`");
                errors.push(SettingsError::new("templates", message));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let defaults = CustomerPreferences { channels: config.channels, language, ..CustomerPreferences::default() };
        Ok(Self { defaults, categories: config.categories, messages })
    }

    fn message(&self, category: &str, language: &str) -> Option<&Message> {
        let languages = self.messages.get(category)?;
        let language = language.to_ascii_lowercase();
        let primary = language.split('-').next().unwrap_or_default();
        [language.as_str(), primary, &self.defaults.language].into_iter().find_map(|tag| languages.get(tag))
    }
}

impl Processor for FanOutNotifications {
    fn process(&self, event: AnyEvent, context: &mut Context<'_>) -> Result<Flow, Reject> {
        let status: PaymentStatus = event.downcast().map_err(|event| Reject::unexpected(&event))?;
        let Some(preferences) = context.references.table::<Preferences>(PREFERENCES) else {
            return Err(Reject::new(&BUG).because("the reference table `customer_preferences` is not there"));
        };
        for notification in self.notifications(&status, preferences) {
            context.effects.emit(NOTIFICATIONS, Box::new(notification) as AnyEvent);
        }
        Ok(Flow::Done(Outcome::Applied))
    }
}

impl FanOutNotifications {
    fn notifications(&self, status: &PaymentStatus, preferences: &Preferences) -> Vec<Notification> {
        let Some(customer) = status.customer.as_deref().filter(|customer| !customer.is_empty()) else {
            return Vec::new();
        };
        let told = category_of(status).filter(|category| self.categories.iter().any(|told| told == category));
        let Some(category) = told else { return Vec::new() };
        let preferences = preferences.in_force(customer, status.event_time).unwrap_or(&self.defaults);
        let Some(message) = self.message(category, &preferences.language) else { return Vec::new() };
        let is_muted = preferences.muted.iter().any(|muted| muted == category);
        let digest = digest_of(status);
        let notification = |channel: &String| Notification {
            meta: Meta::default(),
            notification_id: format!("{}/{}/{digest}/{category}/{channel}", status.source, status.payment_id),
            customer: customer.to_owned(),
            channel: channel.clone(),
            category: category.to_owned(),
            template: message.name.clone(),
            subject: if is_muted { String::new() } else { message.subject.render(status) },
            body: if is_muted { String::new() } else { message.body.render(status) },
            payment_id: status.payment_id.clone(),
            status: if is_muted { "suppressed" } else { "requested" }.to_owned(),
            reason: is_muted.then(|| "muted_by_customer".to_owned()),
            event_time: status.event_time,
        };
        preferences.channels.iter().map(notification).collect()
    }
}

/// Tells the payments of two debit accounts apart that share source and id.
fn digest_of(status: &PaymentStatus) -> String {
    let identity = identity(&status.source, &status.debit_account, &status.payment_id);
    Sha256::digest(identity)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn category_of(status: &PaymentStatus) -> Option<&'static str> {
    // What had to wait is posted or rejected by an update. The end of a hold is none of the payer's news.
    let payment_type = status.payment_type.unwrap_or_default();
    if !payment_type.is_of_payer() {
        return None;
    }
    let may_wait = payment_type.can_be_scheduled() || payment_type == PaymentType::Journal;
    let is_return = status.reason.as_deref().is_some_and(|reason| reason.starts_with("returned: "));
    match (status.status, status.phase) {
        (StatusCode::ACSC, StatusPhase::Outcome) => Some(POSTED),
        (StatusCode::ACSC, StatusPhase::Update) if may_wait => Some(POSTED),
        (StatusCode::RJCT, StatusPhase::Update) if is_return || !may_wait => Some(RETURNED),
        (StatusCode::RJCT, StatusPhase::Outcome | StatusPhase::Update) => Some(REJECTED),
        (StatusCode::ACSC | StatusCode::RJCT, StatusPhase::Repeat)
        | (StatusCode::ACSC, StatusPhase::Update)
        | (StatusCode::PDNG | StatusCode::RCVD | StatusCode::CANC | StatusCode::PART, _) => None,
    }
}
