//! `reprocess diff`: what both pipelines have made of the same inputs, entity by entity, and what made the difference.
//!
//! What depends on the order in which records of different topics arrive is left out: running numbers, the balance after
//! each single entry, profiles. Two runs with the same settings differ in it, too.

mod causes;
mod entities;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use tidemill_runtime::reprocess::{Standing, processed, standing};
use tidemill_runtime::status::figures;
use tidemill_topology::Topology;

use self::causes::Causes;
pub(super) use self::entities::missing_outcomes;
use self::entities::{Comparison, Difference, compare};
use self::settings::Changed;
use super::pair::Pair;
use crate::args::Global;
use crate::exit::{Exit, Failure};
use crate::output::{self, count};
use crate::session::{Access, Session};

#[derive(Serialize)]
struct Diff {
    event: &'static str,
    #[serde(rename = "as")]
    colour: String,
    blue_config_hash: String,
    green_config_hash: String,
    /// Offsets of the shared inputs that the live pipeline has processed and the new one has not.
    behind: u64,
    /// Settings that are not the same in both.
    settings: Vec<Changed>,
    /// How the records of each input have ended, where that is not the same in both.
    stages: Vec<StageDiff>,
    entities: Vec<Comparison>,
    differences: u64,
    samples: Vec<Sample>,
}

#[derive(Serialize)]
struct StageDiff {
    /// `stage/topic`.
    input: String,
    outcome: String,
    blue: u64,
    green: u64,
}

#[derive(Serialize)]
struct Sample {
    #[serde(flatten)]
    difference: Difference,
    cause: String,
}

pub(super) fn run(global: &Global, with: Option<&Path>, samples_max: usize) -> Result<Exit, Failure> {
    let pair = Pair::open(global, with, Access::Read)?;
    let run = pair.run()?;
    let diff = make(&pair, run.limits().by_topic().is_empty(), samples_max)?;
    if global.json {
        output::json(&diff)?;
    } else {
        print(&diff)?;
    }
    Ok(if diff.differences == 0 && diff.stages.is_empty() { Exit::Ok } else { Exit::Findings })
}

fn make(pair: &Pair, _is_running: bool, samples_max: usize) -> Result<Diff, Failure> {
    let Pair { session, blue, green, colour } = pair;
    let behind = behind(session, blue, green)?;
    let settings = settings::changed(blue, green);
    let (mut entities, differences) = compare(session, blue, green)?;
    let causes = Causes::new(green, &settings, &differences);
    let mut shown: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let mut samples = Vec::new();
    for difference in &differences {
        let cause = causes.of(difference);
        if let Some(entity) = entities.iter_mut().find(|entity| entity.entity == difference.entity) {
            *entity.causes.entry(cause.clone()).or_default() += 1;
        }
        let number = shown.entry((difference.entity, cause.clone())).or_default();
        *number += 1;
        if *number <= samples_max {
            samples.push(Sample { difference: difference.clone(), cause });
        }
    }
    Ok(Diff {
        event: "result",
        colour: colour.to_string(),
        blue_config_hash: blue.pipeline.config_hash.clone(),
        green_config_hash: green.pipeline.config_hash.clone(),
        behind,
        settings,
        stages: stages(session, blue, green)?,
        differences: differences.len() as u64,
        entities,
        samples,
    })
}

fn behind(session: &Session, blue: &Topology, green: &Topology) -> Result<u64, Failure> {
    let limits = processed(session.broker.as_ref(), blue)?;
    let Standing { total, done, under_way, .. } =
        standing(session.broker.as_ref(), green, &limits, session.clock.unix_ms())?;
    Ok(total - done + under_way)
}

fn stages(session: &Session, blue: &Topology, green: &Topology) -> Result<Vec<StageDiff>, Failure> {
    let [blue, green] = [blue, green].map(|topology| {
        let mut all: BTreeMap<(String, String), u64> = BTreeMap::new();
        for unit in &topology.units {
            for (input, outcomes) in figures(session.broker.as_ref(), topology, unit)? {
                let input = plain(topology, &input);
                for (outcome, number) in outcomes {
                    *all.entry((input.clone(), outcome)).or_default() += number;
                }
            }
        }
        Ok::<_, Failure>(all)
    });
    let (blue, green) = (blue?, green?);
    let keys: BTreeSet<_> = blue.keys().chain(green.keys()).cloned().collect();
    let of = |side: &BTreeMap<(String, String), u64>, key: &(String, String)| side.get(key).copied().unwrap_or(0);
    let differing = keys.into_iter().filter(|key| of(&blue, key) != of(&green, key));
    Ok(differing
        .map(|key| StageDiff { blue: of(&blue, &key), green: of(&green, &key), input: key.0, outcome: key.1 })
        .collect())
}

/// A name without the colour of the pipeline, so that both have the same.
fn plain(topology: &Topology, name: &str) -> String {
    match &topology.pipeline.colour {
        Some(colour) => name.strip_suffix(&format!(".{colour}")).unwrap_or(name).to_owned(),
        None => name.to_owned(),
    }
}

fn print(diff: &Diff) -> Result<(), Failure> {
    if diff.behind > 0 {
        output::line(&format!(
            "{} is {} records behind: what it has not seen is left out",
            diff.colour,
            count(diff.behind)
        ))?;
    }
    for changed in &diff.settings {
        output::line(&format!("{}: {} -> {}", changed.path, changed.blue, changed.green))?;
    }
    let rows = diff.entities.iter().map(|entity| {
        let figures = [entity.blue, entity.green, entity.same, entity.differ, entity.only_blue, entity.only_green];
        std::iter::once(entity.entity.to_owned()).chain(figures.map(count)).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    output::table(&["", "live", "new", "same", "differ", "live only", "new only"], &rows)?;
    for stage in &diff.stages {
        let StageDiff { input, outcome, blue, green } = stage;
        output::line(&format!("{input} {outcome}: {} -> {}", count(*blue), count(*green)))?;
    }
    for entity in diff.entities.iter().filter(|entity| !entity.causes.is_empty()) {
        for (cause, number) in &entity.causes {
            output::line(&format!("{} {}: {cause}", count(*number), entity.entity))?;
        }
    }
    for Sample { difference, cause } in &diff.samples {
        output::line(&format!("  {}  [{cause}]", difference.in_words()))?;
    }
    if diff.differences == 0 {
        output::line("Both have made the same of the inputs.")?;
    }
    Ok(())
}
