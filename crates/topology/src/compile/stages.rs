//! Stages: processors and their settings, ports, reference tables, stores.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_core::diagnostic::nearest;
use tidemill_core::processor::MovesMoney;
use tidemill_core::settings::SettingsError;
use tidemill_core::{EventKind, ProcessorSpec, Settings};

use crate::codes::{self, Code};
use crate::findings::{Findings, Step, blot, place};
use crate::plan::{
    CircuitBreaker, Input, Link, OnError, ParkingLimits, ReferencePlan, Stage, dead_letters_of, parked_of,
};
use crate::raw::{Raw, RawInput, RawOnError, RawStage};

use super::{Catalog, StageView, View};

pub(super) fn view<'v>(raw: &'v Raw, catalog: &Catalog<'_>, findings: &mut Findings) -> Vec<StageView<'v>> {
    raw.stage.iter().enumerate().map(|(index, stage)| view_stage(index, stage, raw, catalog, findings)).collect()
}

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for stage in &view.stages {
        check_settings(view, stage, findings);
        check_ports(stage, findings);
        check_references(stage, findings);
        check_on_error(stage, findings);
    }
    check_sharing(view, findings);
}

/// Only for a stage without findings.
pub(super) fn plan(stage: &StageView<'_>) -> Stage {
    let link = |processor: &'static ProcessorSpec| Link { processor, settings: settings_of(stage.raw, processor) };
    let input = |(raw, chain): (&RawInput, &Vec<Option<&'static ProcessorSpec>>)| Input {
        topic: raw.topic.clone(),
        chain: chain.iter().filter_map(|processor| processor.map(link)).collect(),
        output: raw.output.clone(),
        dead_letters: dead_letters_of(&raw.topic),
        parked: (stage.raw.on_error == Some(RawOnError::Park)).then(|| parked_of(&raw.topic)),
    };
    Stage {
        name: stage.raw.name.clone(),
        on_error: match stage.raw.on_error {
            Some(RawOnError::Stop) => OnError::Stop,
            Some(RawOnError::Park) => OnError::Park,
            Some(RawOnError::Dlq) | None => OnError::DeadLetter,
        },
        parking: ParkingLimits {
            keys_max: stage.raw.parking.keys_max,
            records_per_key_max: stage.raw.parking.records_per_key_max,
            age_s_max: stage.raw.parking.age_s_max,
        },
        circuit: stage.raw.circuit.as_ref().map(|circuit| CircuitBreaker {
            consecutive_max: circuit.consecutive_max,
            failed_percent_max: circuit.failed_percent_max,
            window_records: circuit.window_records,
        }),
        inputs: stage.raw.input.iter().zip(&stage.chains).map(input).collect(),
        ports: stage.raw.ports.clone(),
        references: references(stage),
    }
}

/// Every reference table once, with the settings of the first processor that reads it.
fn references(stage: &StageView<'_>) -> Vec<ReferencePlan> {
    let mut seen = BTreeSet::new();
    let all =
        stage.processors.iter().flat_map(|processor| processor.references.iter().map(move |spec| (*processor, spec)));
    all.filter(|(_, spec)| seen.insert(spec.name))
        .filter_map(|(processor, spec)| {
            let topic = stage.raw.references.get(spec.name)?.clone();
            Some(ReferencePlan { spec, topic, settings: settings_of(stage.raw, processor) })
        })
        .collect()
}

fn view_stage<'v>(
    index: usize,
    stage: &'v RawStage,
    raw: &Raw,
    catalog: &Catalog<'_>,
    findings: &mut Findings,
) -> StageView<'v> {
    let unit = raw.unit.iter().position(|unit| unit.name == stage.unit);
    if unit.is_none() && !stage.unit.is_empty() && raw.unit.iter().all(|unit| !unit.name.is_empty()) {
        let hint = did_you_mean(&stage.unit, raw.unit.iter().map(|unit| unit.name.as_str()));
        let message = format!("stage `{}` names unit `{}`, which does not exist", stage.name, stage.unit);
        findings.add_with_hint(place!["stage", index, "unit"], &codes::UNIT_UNKNOWN, message, hint);
    }
    let mut processors: Vec<&'static ProcessorSpec> = Vec::new();
    let mut chains = Vec::with_capacity(stage.input.len());
    for (input_index, input) in stage.input.iter().enumerate() {
        let mut chain = Vec::with_capacity(input.chain.len());
        for (link, name) in input.chain.iter().enumerate() {
            let found = catalog.processors.iter().copied().find(|processor| processor.name == name);
            if found.is_none() && !name.is_empty() {
                let hint = did_you_mean(name, catalog.processors.iter().map(|processor| processor.name));
                let at = place!["stage", index, "input", input_index, "chain", link];
                let message = format!("there is no processor `{name}`");
                findings.add_with_hint(at, &codes::PROCESSOR_UNKNOWN, message, hint);
            }
            if let Some(found) = found
                && processors.iter().all(|known| known.name != found.name)
            {
                processors.push(found);
            }
            chain.push(found);
        }
        chains.push(chain);
    }
    StageView { index, raw: stage, unit, chains, processors }
}

fn settings_of(stage: &RawStage, processor: &ProcessorSpec) -> Settings {
    Settings(stage.settings.get(processor.name).cloned().unwrap_or_default())
}

fn check_settings(view: &View<'_>, stage: &StageView<'_>, findings: &mut Findings) {
    for processor in &stage.processors {
        let settings = settings_of(stage.raw, processor);
        let mut errors = (processor.build)(&settings).err().unwrap_or_default();
        for reference in processor.references {
            let more = (reference.build)(&settings).err().unwrap_or_default();
            errors.extend(more.into_iter().filter(|error| !errors.contains(error)).collect::<Vec<_>>());
        }
        let table = place!["stage", stage.index, "settings", processor.name];
        let owner = format!("processor `{}`", processor.name);
        report_settings(&codes::SETTINGS_REFUSED, table, &owner, errors, &view.foreign.0, findings);
    }
    let names = || stage.processors.iter().map(|processor| processor.name);
    for name in stage.raw.settings.keys().filter(|name| !names().any(|known| known == name.as_str())) {
        let message = format!("no chain of stage `{}` uses `{name}`", stage.raw.name);
        let at = place!["stage", stage.index, "settings", name];
        findings.add_with_hint(at, &codes::SETTINGS_UNUSED, message, did_you_mean(name, names()));
    }
}

/// Components write these messages themselves and may quote values, so values from outside are blotted out.
pub(super) fn report_settings(
    code: &'static Code,
    table: &[Step<'_>],
    owner: &str,
    errors: Vec<SettingsError>,
    foreign: &[String],
    findings: &mut Findings,
) {
    let foreign: Vec<String> = foreign.iter().filter(|value| 3 < value.len()).cloned().collect();
    for error in errors {
        let mut at = table.to_vec();
        at.extend(steps(&error.key));
        let message = blot(&foreign, &error.message);
        let message = match error.key.is_empty() {
            true => format!("{owner}: {message}"),
            false => format!("{owner}, `{}`: {message}", error.key),
        };
        findings.add_with_hint(&at, code, message, error.hint);
    }
}

/// `schedules[0].rate` as steps.
fn steps(key: &str) -> impl Iterator<Item = Step<'_>> {
    key.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty()).map(|step| match step
        .parse::<usize>(
    ) {
        Ok(index) => Step::Index(index),
        Err(_) => Step::Key(step),
    })
}

fn check_ports(stage: &StageView<'_>, findings: &mut Findings) {
    let declared: Vec<_> = stage
        .processors
        .iter()
        .flat_map(|processor| processor.ports.iter().map(|port| (processor.name, port.name, port.kind)))
        .collect();
    let names =
        Names { table: "ports", what: "port", unconnected: &codes::PORT_UNCONNECTED, unknown: &codes::PORT_UNKNOWN };
    check_connections(stage, &names, &declared, &stage.raw.ports, findings);
}

fn check_references(stage: &StageView<'_>, findings: &mut Findings) {
    let declared: Vec<_> = stage
        .processors
        .iter()
        .flat_map(|processor| processor.references.iter().map(|table| (processor.name, table.name, table.kind)))
        .collect();
    let names = Names {
        table: "references",
        what: "reference table",
        unconnected: &codes::REFERENCE_UNCONNECTED,
        unknown: &codes::REFERENCE_UNKNOWN,
    };
    check_connections(stage, &names, &declared, &stage.raw.references, findings);
}

struct Names {
    table: &'static str,
    what: &'static str,
    unconnected: &'static Code,
    unknown: &'static Code,
}

fn check_connections(
    stage: &StageView<'_>,
    names: &Names,
    declared: &[(&'static str, &'static str, EventKind)],
    connected: &BTreeMap<String, String>,
    findings: &mut Findings,
) {
    let mut kinds: BTreeMap<&str, (&str, EventKind)> = BTreeMap::new();
    for (processor, name, kind) in declared {
        let (first, first_kind) = *kinds.entry(name).or_insert((processor, *kind));
        if first_kind != *kind {
            let message =
                format!("{} `{name}` is {first_kind:?} for `{first}`, but {kind:?} for `{processor}`", names.what);
            findings.add(place!["stage", stage.index], &codes::SAME_NAME_TWO_KINDS, message);
        }
        if !connected.contains_key(*name) {
            let message =
                format!("{} `{name}` of `{processor}` in stage `{}` leads to no topic", names.what, stage.raw.name);
            let hint = format!("Add `{name} = \"<topic>\"` under [stage.{}], a topic of {kind:?} events.", names.table);
            findings.add_with_hint(place!["stage", stage.index, names.table], names.unconnected, message, Some(hint));
        }
    }
    if stage.chains.iter().flatten().any(Option::is_none) {
        return;
    }
    for name in connected.keys().filter(|name| !kinds.contains_key(name.as_str())) {
        let message = format!("no processor of stage `{}` has a {} `{name}`", stage.raw.name, names.what);
        let hint = did_you_mean(name, kinds.keys().copied());
        findings.add_with_hint(place!["stage", stage.index, names.table, name], names.unknown, message, hint);
    }
}

fn check_on_error(stage: &StageView<'_>, findings: &mut Findings) {
    let mover = stage.processors.iter().find(|processor| processor.moves_money == MovesMoney::Yes);
    if let (Some(mover), None) = (mover, stage.raw.on_error) {
        let message = format!("`{}` moves money, but stage `{}` does not state `on_error`", mover.name, stage.raw.name);
        findings.add(place!["stage", stage.index], &codes::ON_ERROR_UNSTATED, message);
    }
}

fn check_sharing(view: &View<'_>, findings: &mut Findings) {
    let mut stores: BTreeMap<(usize, &str), &StageView<'_>> = BTreeMap::new();
    let mut topics: BTreeMap<(usize, &str), &StageView<'_>> = BTreeMap::new();
    for stage in &view.stages {
        let Some(unit) = stage.unit else { continue };
        for store in stage.processors.iter().flat_map(|processor| processor.stores) {
            let first = *stores.entry((unit, store.name)).or_insert(stage);
            if first.index != stage.index {
                let message =
                    format!("stages `{}` and `{}` use store `{}`", first.raw.name, stage.raw.name, store.name);
                findings.add(place!["stage", stage.index], &codes::STORE_SHARED, message);
            }
        }
        for (index, input) in stage.raw.input.iter().enumerate().filter(|(_, input)| !input.topic.is_empty()) {
            if let Some(first) = topics.insert((unit, &input.topic), stage) {
                let message = format!(
                    "unit `{}` reads `{}` in stage `{}` and again in stage `{}`",
                    stage.raw.unit, input.topic, first.raw.name, stage.raw.name
                );
                findings.add(place!["stage", stage.index, "input", index, "topic"], &codes::TOPIC_READ_TWICE, message);
            }
        }
    }
}

pub(super) fn did_you_mean<'n>(name: &str, candidates: impl IntoIterator<Item = &'n str>) -> Option<String> {
    nearest(name, candidates).map(|near| format!("Did you mean `{near}`?"))
}
