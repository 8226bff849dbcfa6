//! Rule sets, and which of them is in force when.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use rhai::AST;
use tidemill_core::{AnyEvent, EventTime, ReferenceTable};
use tidemill_schemas::{FraudRules, ProfiledPayment, Rule, RuleHit};

use super::language::{Language, scope_of};

/// Rule sets that the topic may hold at the same time.
const RULE_SETS_MAX: usize = 64;
/// Rules of one set.
const RULES_MAX: usize = 200;
/// Points of one rule, in either direction; far enough from overflow for any number of rules allowed.
const POINTS_MAX: i64 = 1_000_000;
/// Marks the hit of a rule that failed. Not allowed in names of rules.
const ERROR_SUFFIX: &str = "!error";

/// What a rule set is made from, in the settings and in the topic alike.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) threshold: i64,
    pub(super) rules: &'a [Rule],
}

/// Why a rule set cannot be used. `key` is the setting at fault: `rules[2].when`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) key: String,
    pub(super) message: String,
}

/// A rule set that has passed every check.
pub(super) struct RuleSet {
    /// `name@version`.
    pub(super) label: String,
    pub(super) threshold: i64,
    rules: Vec<CompiledRule>,
}

struct CompiledRule {
    name: String,
    points: i64,
    expression: AST,
}

/// What a rule set says about a payment.
#[derive(Debug, Default)]
pub(super) struct Score {
    pub(super) points: i64,
    pub(super) hits: Vec<RuleHit>,
    pub(super) failed_rules: usize,
}

/// The reference table `fraud_rules`.
///
/// In force at a time is the set with the latest `effective_from` at or before it; of several with the same, the one
/// with the greatest key; the one of the settings while there is none. The key is `name/version`, so that the compacted
/// topic keeps a set that is announced beside the one in force. A record replaces the set with its key and an empty
/// record removes it: what compaction leaves gives the same table as all that was written.
pub(super) struct RuleBook {
    language: Language,
    first: RuleSet,
    announced: BTreeMap<(EventTime, Vec<u8>), RuleSet>,
}

impl RuleBook {
    pub(super) fn new(first: &Draft<'_>) -> Result<Self, Vec<Fault>> {
        let language = Language::new();
        let first = RuleSet::compile(&language, first)?;
        Ok(Self { language, first, announced: BTreeMap::new() })
    }

    pub(super) fn in_force(&self, at: EventTime) -> &RuleSet {
        let too_late = (EventTime(at.micros().saturating_add(1)), Vec::new());
        self.announced.range(..too_late).next_back().map_or(&self.first, |(_, set)| set)
    }

    /// All rules in their order. A rule that fails is listed as `<name>!error` with 0 points.
    pub(super) fn score(&self, set: &RuleSet, profiled: &ProfiledPayment) -> Score {
        let mut scope = scope_of(profiled);
        let mut score = Score::default();
        for rule in &set.rules {
            match self.language.evaluate(&rule.expression, &mut scope) {
                Ok(false) => {}
                Ok(true) => {
                    score.points += rule.points;
                    score.hits.push(RuleHit { rule: rule.name.clone(), points: rule.points });
                }
                Err(_) => {
                    score.failed_rules += 1;
                    score.hits.push(RuleHit { rule: format!("{}{ERROR_SUFFIX}", rule.name), points: 0 });
                }
            }
        }
        score
    }
}

impl ReferenceTable for RuleBook {
    fn apply(&mut self, key: &[u8], event: Option<AnyEvent>) -> Result<(), String> {
        let Some(event) = event else {
            self.announced.retain(|(_, other), _| other != key);
            return Ok(());
        };
        let rules: FraudRules = event.downcast().map_err(|event| format!("not fraud rules: {:?}", event.kind()))?;
        let draft =
            Draft { name: &rules.name, version: &rules.version, threshold: rules.threshold, rules: &rules.rules };
        let set = RuleSet::compile(&self.language, &draft).map_err(|faults| {
            let faults: Vec<String> =
                faults.into_iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect();
            format!("rule set `{}@{}` cannot be used: {}", rules.name, rules.version, faults.join("; "))
        })?;
        if self.announced.keys().filter(|(_, other)| other != key).count() >= RULE_SETS_MAX {
            return Err(format!("there are {RULE_SETS_MAX} rule sets already; remove one with an empty record"));
        }
        self.announced.retain(|(_, other), _| other != key);
        self.announced.insert((rules.effective_from, key.to_vec()), set);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl RuleSet {
    fn compile(language: &Language, draft: &Draft<'_>) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, message: String| faults.push(Fault { key: key.to_owned(), message });
        if draft.name.is_empty() {
            fault("rule_set", "a rule set needs a name".to_owned());
        }
        if draft.version.is_empty() {
            fault("version", "a rule set needs a version".to_owned());
        }
        if draft.threshold < 1 {
            fault("threshold", "must be at least 1, or every payment would be declined".to_owned());
        }
        if draft.rules.len() > RULES_MAX {
            fault("rules", format!("{} rules, of {RULES_MAX} allowed", draft.rules.len()));
            return Err(faults);
        }
        let mut names = BTreeSet::new();
        let mut rules = Vec::with_capacity(draft.rules.len());
        for (index, rule) in draft.rules.iter().enumerate() {
            if !is_name(&rule.name) {
                fault(&format!("rules[{index}].name"), format!("`{}` is not a name in snake_case", rule.name));
            }
            if !names.insert(rule.name.as_str()) {
                fault(&format!("rules[{index}].name"), format!("rule `{}` is there twice", rule.name));
            }
            if !(-POINTS_MAX..=POINTS_MAX).contains(&rule.points) {
                let message = format!("rule `{}`: at most {POINTS_MAX} points, in either direction", rule.name);
                fault(&format!("rules[{index}].points"), message);
            }
            match language.compile(&rule.when) {
                Ok(expression) => {
                    rules.push(CompiledRule { name: rule.name.clone(), points: rule.points, expression });
                }
                Err(message) => fault(&format!("rules[{index}].when"), format!("rule `{}`: {message}", rule.name)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self { label: format!("{}@{}", draft.name, draft.version), threshold: draft.threshold, rules })
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
