//! Co-partitioning: state kept under a key must be fed from records with that key, or two tasks would each hold a part.

use std::collections::BTreeMap;

use tidemill_core::{KeySpace, RawEvent};

use crate::codes;
use crate::findings::{Findings, place};

use super::stages::did_you_mean;
use super::types::Kinds;
use super::{StageView, View};

pub(super) fn check(view: &View<'_>, kinds: &Kinds<'_>, findings: &mut Findings) {
    let stated = stated(view, kinds, findings);
    for stage in &view.stages {
        for index in 0..stage.raw.input.len() {
            check_input(stage, index, kinds, &stated, findings);
        }
    }
}

/// Keys that the file states for topics.
fn stated<'v>(view: &View<'v>, kinds: &Kinds<'_>, findings: &mut Findings) -> BTreeMap<&'v str, KeySpace> {
    let codecs = view.catalog.codecs.iter().map(|codec| codec.kind.keyed_by);
    let stores = view.catalog.processors.iter().flat_map(|processor| processor.stores).map(|store| store.keyed_by);
    let known: BTreeMap<&str, KeySpace> = codecs
        .chain(stores)
        .filter_map(|space| match space {
            KeySpace::Named(name) => Some((name, space)),
            KeySpace::Any => None,
        })
        .collect();
    let mut stated = BTreeMap::new();
    for (topic, config) in &view.raw.topics {
        let Some(name) = config.keyed_by.as_deref() else { continue };
        let at = place!["topics", topic, "keyed_by"];
        let Some(space) = known.get(name) else {
            let hint = did_you_mean(name, known.keys().copied());
            findings.add_with_hint(at, &codes::KEY_SPACE_UNKNOWN, format!("nothing is keyed by `{name}`"), hint);
            continue;
        };
        stated.insert(topic.as_str(), *space);
        let kind = kinds.by_topic.get(topic.as_str()).filter(|_| kinds.written.contains(topic.as_str()));
        if let Some(kind) = kind.filter(|kind| kind.keyed_by != *space) {
            let message = format!("`{topic}` is written with {kind:?} events, whose key is {:?}", kind.keyed_by);
            findings.add(at, &codes::KEY_MISMATCH, message);
        }
    }
    stated
}

fn check_input(
    stage: &StageView<'_>,
    index: usize,
    kinds: &Kinds<'_>,
    stated: &BTreeMap<&str, KeySpace>,
    findings: &mut Findings,
) {
    let topic = stage.raw.input[index].topic.as_str();
    let Some(kind) = kinds.by_topic.get(topic) else { return };
    let key = match stated.get(topic) {
        Some(stated) if !kinds.written.contains(topic) => *stated,
        _ => kind.keyed_by,
    };
    let stores = stage.chains[index]
        .iter()
        .flatten()
        .flat_map(|processor| processor.stores.iter().map(move |store| (*processor, store)));
    let at = place!["stage", stage.index, "input", index, "topic"];
    for (processor, store) in stores.filter(|(_, store)| !store.keyed_by.accepts(key)) {
        let needs = format!("store `{}` of `{}` is keyed by {:?}", store.name, processor.name, store.keyed_by);
        if *kind == RawEvent::KIND && key == KeySpace::Any {
            let hint = format!(
                "If its producers do so, add `keyed_by = \"{:?}\"` under [topics.\"{topic}\"].",
                store.keyed_by
            );
            let message = format!("{needs}, but nobody says what `{topic}` is keyed by");
            findings.add_with_hint(at, &codes::KEY_UNSTATED, message, Some(hint));
        } else {
            findings.add(at, &codes::KEY_MISMATCH, format!("{needs}, but `{topic}` by {key:?}"));
        }
    }
}
