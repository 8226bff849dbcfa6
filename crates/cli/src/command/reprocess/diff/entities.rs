//! The entities of both pipelines, side by side: a partition at a time, and in memory only what identifies them.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tidemill_runtime::broker::{TopicPartition, read_all};
use tidemill_schemas::{AccountBalance, AccountStatus, AggregatedBalance, Alert, Decision, LedgerEntry, PaymentStatus};
use tidemill_topology::Topology;
use tidemill_topology::plan::Topic;

use super::plain;
use crate::command::consume::Decoder;
use crate::command::reprocess::pair::Pair;
use crate::exit::Failure;
use crate::session::Session;

/// What is compared of the events of a kind.
struct Sort {
    entity: &'static str,
    kind: &'static str,
    /// Only events in which a field says this.
    only: Option<(&'static str, &'static str)>,
    /// Except those.
    but: Option<(&'static str, &'static str)>,
    identity: &'static [&'static str],
    fields: &'static [&'static str],
    counted: Counted,
}

/// What several events of one identity mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    Each,
    /// Only the last counts.
    Last,
}

const PAYMENT: &[&str] = &["source", "debit_account", "payment_id"];
const FEE: &str = "fee";

const SORTS: &[Sort] = &[
    Sort {
        entity: "outcomes",
        kind: PaymentStatus::KIND.name,
        only: Some(("phase", "outcome")),
        but: None,
        identity: PAYMENT,
        fields: &["status", "code", "fee_minor", "amount_minor", "currency", "credit_account"],
        counted: Counted::Each,
    },
    Sort {
        entity: "updates",
        kind: PaymentStatus::KIND.name,
        only: Some(("phase", "update")),
        but: None,
        identity: PAYMENT,
        fields: &["status", "code", "fee_minor", "amount_minor", "currency", "credit_account"],
        counted: Counted::Each,
    },
    Sort {
        entity: "decisions",
        kind: Decision::KIND.name,
        only: None,
        but: None,
        identity: PAYMENT,
        fields: &["verdict", "score", "threshold", "rules", "rule_set"],
        counted: Counted::Each,
    },
    Sort {
        entity: "fees",
        kind: LedgerEntry::KIND.name,
        only: Some(("kind", FEE)),
        but: None,
        identity: &["source", "account_id", "payment_id", "leg_no"],
        fields: &["amount_minor", "currency", "fee_schedule", "contra_account_id"],
        counted: Counted::Each,
    },
    Sort {
        entity: "entries",
        kind: LedgerEntry::KIND.name,
        only: None,
        but: Some(("kind", FEE)),
        identity: &["source", "account_id", "payment_id", "kind", "leg_no"],
        fields: &["amount_minor", "currency", "contra_account_id", "hold_minor"],
        counted: Counted::Each,
    },
    Sort {
        entity: "balances",
        kind: AccountBalance::KIND.name,
        only: None,
        but: None,
        identity: &["account_id"],
        fields: &[
            "posted_minor",
            "pending_minor",
            "available_minor",
            "currency",
            "limit_minor",
            "debits_frozen",
            "credits_frozen",
            "closed",
        ],
        counted: Counted::Last,
    },
    Sort {
        entity: "aggregates",
        kind: AggregatedBalance::KIND.name,
        only: None,
        but: None,
        identity: &["scope", "node", "currency"],
        fields: &["accounts", "posted_minor", "pending_minor", "available_minor"],
        counted: Counted::Last,
    },
    Sort {
        entity: "account requests",
        kind: AccountStatus::KIND.name,
        only: None,
        but: None,
        identity: &["source", "request_id", "account_id", "phase"],
        fields: &["action", "status", "code"],
        counted: Counted::Each,
    },
    Sort {
        entity: "alerts",
        kind: Alert::KIND.name,
        only: None,
        but: None,
        identity: &["subject", "code", "payment_id"],
        fields: &["severity"],
        counted: Counted::Each,
    },
];

/// The figures of one sort of entity.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Comparison {
    pub(super) entity: &'static str,
    pub(super) topics: Vec<String>,
    pub(super) blue: u64,
    pub(super) green: u64,
    pub(super) same: u64,
    pub(super) differ: u64,
    pub(super) only_blue: u64,
    pub(super) only_green: u64,
    /// How often each field differs.
    pub(super) fields: BTreeMap<String, u64>,
    pub(super) causes: BTreeMap<String, u64>,
}

/// One entity that is not the same in both.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Difference {
    pub(super) entity: &'static str,
    pub(super) identity: Map<String, Value>,
    pub(super) fields: Vec<String>,
    pub(super) blue: Option<Map<String, Value>>,
    pub(super) green: Option<Map<String, Value>>,
}

impl Difference {
    pub(super) fn in_words(&self) -> String {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        let identity: Vec<String> = self.identity.values().filter(|value| !value.is_null()).map(text).collect();
        let side = |side: &Option<Map<String, Value>>, field: &String| {
            side.as_ref().and_then(|values| values.get(field)).map_or_else(|| "-".to_owned(), text)
        };
        let change = |field: &String| format!("{field} {} -> {}", side(&self.blue, field), side(&self.green, field));
        let what = match (&self.blue, &self.green) {
            (Some(_), None) => "only in the live one".to_owned(),
            (None, Some(_)) => "only in the new one".to_owned(),
            _ => self.fields.iter().map(change).collect::<Vec<_>>().join(", "),
        };
        format!("{} {}: {what}", self.entity, identity.join(" "))
    }

    pub(super) fn identity_text(&self, field: &str) -> Option<&str> {
        self.identity.get(field).and_then(Value::as_str)
    }
}

/// What is kept of an entity: a digest of what is compared.
type Digests = HashMap<Identity, [u8; 16]>;
/// What names an entity, as JSON text, and which of several of the same name it is.
type Identity = (String, u32);

pub(super) fn compare(
    session: &Session,
    blue: &Topology,
    green: &Topology,
) -> Result<(Vec<Comparison>, Vec<Difference>), Failure> {
    let (mut comparisons, mut differences) = (Vec::new(), Vec::new());
    for sort in SORTS {
        let mut comparison = Comparison { entity: sort.entity, ..Comparison::default() };
        for topic in topics_of(blue, sort.kind) {
            let name = plain(blue, &topic.name);
            let Some(other) = topics_of(green, sort.kind).find(|other| plain(green, &other.name) == name) else {
                continue;
            };
            comparison.topics.push(name);
            for number in 0..topic.partitions {
                let partitions = [topic, other].map(|topic| TopicPartition::new(topic.name.as_str(), number));
                compare_partition(session, sort, &partitions, &mut comparison, &mut differences)?;
            }
        }
        if !comparison.topics.is_empty() {
            comparisons.push(comparison);
        }
    }
    Ok((comparisons, differences))
}

/// Payments with an outcome in the live pipeline and none in the new one.
pub(in crate::command::reprocess) fn missing_outcomes(pair: &Pair) -> Result<Vec<String>, Failure> {
    let Pair { session, blue, green, .. } = pair;
    let mut missing = Vec::new();
    for sort in SORTS.iter().filter(|sort| sort.entity == "outcomes") {
        for topic in topics_of(blue, sort.kind) {
            let name = plain(blue, &topic.name);
            let other = topics_of(green, sort.kind).find(|other| plain(green, &other.name) == name);
            for number in 0..topic.partitions {
                let before = read(session, sort, &TopicPartition::new(topic.name.as_str(), number))?;
                let after = match other {
                    Some(other) => read(session, sort, &TopicPartition::new(other.name.as_str(), number))?,
                    None => Digests::new(),
                };
                let gone = before.into_keys().filter(|identity| !after.contains_key(identity));
                missing.extend(gone.map(|(identity, _)| payment_id(&identity)));
            }
        }
    }
    missing.sort_unstable();
    Ok(missing)
}

fn payment_id(identity: &str) -> String {
    let fields: Map<String, Value> = serde_json::from_str(identity).unwrap_or_default();
    fields.get("payment_id").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn topics_of<'t>(topology: &'t Topology, kind: &'static str) -> impl Iterator<Item = &'t Topic> {
    topology.own_topics().filter(move |topic| topic.kind.is_some_and(|of| of.name == kind))
}

fn compare_partition(
    session: &Session,
    sort: &Sort,
    [blue, green]: &[TopicPartition; 2],
    comparison: &mut Comparison,
    differences: &mut Vec<Difference>,
) -> Result<(), Failure> {
    let (before, after) = (read(session, sort, blue)?, read(session, sort, green)?);
    comparison.blue += before.len() as u64;
    comparison.green += after.len() as u64;
    comparison.same += before.iter().filter(|(identity, digest)| after.get(identity) == Some(digest)).count() as u64;
    let differs = |identity: &Identity| before.get(identity) != after.get(identity);
    // Only those that differ are read again, with all that is compared.
    let [mut old, mut new] = [HashMap::new(), HashMap::new()];
    if before != after {
        collect(session, sort, blue, &differs, &mut old)?;
        collect(session, sort, green, &differs, &mut new)?;
    }
    let mut identities: Vec<&Identity> =
        before.keys().chain(after.keys()).filter(|identity| differs(identity)).collect();
    identities.sort_unstable();
    identities.dedup();
    for identity in identities {
        let (blue, green) = (old.remove(identity), new.remove(identity));
        match (&blue, &green) {
            (Some(_), Some(_)) => comparison.differ += 1,
            (Some(_), None) => comparison.only_blue += 1,
            (None, _) => comparison.only_green += 1,
        }
        let is_other = |field: &&&str| {
            let of = |side: &Option<Map<String, Value>>| side.as_ref().and_then(|values| values.get(**field)).cloned();
            of(&blue) != of(&green)
        };
        let fields: Vec<String> = sort.fields.iter().filter(is_other).map(|field| (*field).to_owned()).collect();
        for field in &fields {
            *comparison.fields.entry(field.clone()).or_default() += 1;
        }
        let identity = serde_json::from_str(&identity.0).unwrap_or_default();
        differences.push(Difference { entity: sort.entity, identity, fields, blue, green });
    }
    Ok(())
}

fn read(session: &Session, sort: &Sort, partition: &TopicPartition) -> Result<Digests, Failure> {
    let mut digests = Digests::new();
    visit(session, sort, partition, |identity, values| {
        let hash: [u8; 32] = Sha256::digest(Value::Object(values).to_string().as_bytes()).into();
        let digest = <[u8; 16]>::try_from(&hash[..16]).unwrap_or_default();
        digests.insert(identity, digest);
    })?;
    Ok(digests)
}

fn collect(
    session: &Session,
    sort: &Sort,
    partition: &TopicPartition,
    is_wanted: &impl Fn(&Identity) -> bool,
    found: &mut HashMap<Identity, Map<String, Value>>,
) -> Result<(), Failure> {
    visit(session, sort, partition, |identity, values| {
        if is_wanted(&identity) {
            found.insert(identity, values);
        }
    })
}

fn visit(
    session: &Session,
    sort: &Sort,
    partition: &TopicPartition,
    mut see: impl FnMut(Identity, Map<String, Value>),
) -> Result<(), Failure> {
    let mut decoder = Decoder::new(session.registry.as_ref());
    let mut numbers: HashMap<String, u32> = HashMap::new();
    read_all(session.broker.as_ref(), partition, |record| {
        let Some(value) = record.value.map(|value| decoder.decode(value)) else {
            return Ok::<_, Failure>(ControlFlow::Continue(()));
        };
        let says = |(field, text): (&str, &str)| value.get(field).and_then(Value::as_str) == Some(text);
        if !sort.only.is_none_or(says) || sort.but.is_some_and(says) {
            return Ok(ControlFlow::Continue(()));
        }
        let taken = |fields: &[&str]| -> Map<String, Value> {
            fields.iter().map(|field| ((*field).to_owned(), value.get(*field).cloned().unwrap_or_default())).collect()
        };
        let identity = Value::Object(taken(sort.identity)).to_string();
        let number = match sort.counted {
            Counted::Last => 0,
            Counted::Each => {
                let number = numbers.entry(identity.clone()).or_default();
                *number += 1;
                *number
            }
        };
        see((identity, number), taken(sort.fields));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}
