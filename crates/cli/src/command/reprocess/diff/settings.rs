//! Settings that are not the same in both topologies, as paths into the file.

use std::collections::BTreeMap;

use serde::Serialize;
use tidemill_topology::Topology;
use tidemill_topology::plan::Stage;
use toml::Value;

use super::plain;

const ABSENT: &str = "-";

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Changed {
    pub(super) stage: String,
    /// Whose setting it is; empty where it is the stage's own.
    pub(super) processor: String,
    /// `stage.ledger.settings.charge_fee.schedules[0].rounding`.
    pub(super) path: String,
    pub(super) blue: String,
    pub(super) green: String,
}

pub(super) fn changed(blue: &Topology, green: &Topology) -> Vec<Changed> {
    let [blue, green] = [blue, green].map(all);
    let keys: std::collections::BTreeSet<&Place> = blue.keys().chain(green.keys()).collect();
    let of =
        |side: &BTreeMap<Place, String>, place: &Place| side.get(place).cloned().unwrap_or_else(|| ABSENT.to_owned());
    let differing = keys.into_iter().filter(|place| blue.get(*place) != green.get(*place));
    differing
        .map(|place| Changed {
            stage: place.stage.clone(),
            processor: place.processor.clone(),
            path: place.path.clone(),
            blue: of(&blue, place),
            green: of(&green, place),
        })
        .collect()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    stage: String,
    processor: String,
    path: String,
}

/// Everything that decides how records are processed, each value under its path.
fn all(topology: &Topology) -> BTreeMap<Place, String> {
    let mut found = BTreeMap::new();
    for unit in &topology.units {
        for stage in &unit.stages {
            let at = format!("stage.{}", stage.name);
            let mut own = |path: String, value: String| {
                found.insert(
                    Place { stage: stage.name.clone(), processor: String::new(), path: format!("{at}.{path}") },
                    value,
                );
            };
            own("unit".to_owned(), unit.name.clone());
            own("on_error".to_owned(), stage.on_error.name().to_owned());
            for input in &stage.inputs {
                let chain: Vec<&str> = input.chain.iter().map(|link| link.processor.name).collect();
                own(format!("input.{}.chain", plain(topology, &input.topic)), chain.join(", "));
            }
            settings(stage, &at, &mut found);
        }
    }
    found
}

fn settings(stage: &Stage, at: &str, found: &mut BTreeMap<Place, String>) {
    for link in stage.inputs.iter().flat_map(|input| &input.chain) {
        let processor = link.processor.name;
        let at = format!("{at}.settings.{processor}");
        leaves(&Value::Table(link.settings.0.clone()), &at, &mut |path, value| {
            let place = Place { stage: stage.name.clone(), processor: processor.to_owned(), path };
            found.insert(place, value);
        });
    }
}

fn leaves(value: &Value, at: &str, see: &mut impl FnMut(String, String)) {
    match value {
        Value::Table(table) => table.iter().for_each(|(key, value)| leaves(value, &format!("{at}.{key}"), see)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| leaves(item, &format!("{at}[{index}]"), see));
        }
        scalar => see(at.to_owned(), scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_named_by_its_way_through_the_file() {
        let table: toml::Table = "rate = '0.1'\n[[tiers]]\nup = 5\n".parse().expect("is TOML");
        let mut found = Vec::new();
        leaves(&Value::Table(table), "s", &mut |path, value| found.push(format!("{path}={value}")));
        assert_eq!(found, ["s.rate=\"0.1\"", "s.tiers[0].up=5"]);
    }
}
