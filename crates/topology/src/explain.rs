//! The topology in words: chains, transactions, hops, and what latency they cost at least.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use crate::plan::{Broker, Role, Stage, Topology, Unit};

pub fn explain(topology: &Topology) -> String {
    let mut out = String::new();
    let broker = match &topology.broker {
        Broker::Embedded { .. } => "the embedded broker",
        Broker::Kafka { .. } => "Kafka",
    };
    let _ = writeln!(out, "pipeline {} on {broker}", topology.pipeline.produced_by());
    for unit in &topology.units {
        out.push('\n');
        explain_unit(unit, topology, &mut out);
    }
    if !topology.sinks.is_empty() {
        out.push_str("\nsinks\n");
    }
    for sink in &topology.sinks {
        let is_dead =
            |topic: &&String| topology.topics.get(*topic).is_some_and(|topic| topic.role == Role::DeadLetters);
        let (dead, events): (Vec<_>, Vec<_>) = sink.topics.iter().partition(is_dead);
        let events: Vec<&str> = events.into_iter().map(String::as_str).collect();
        let _ = writeln!(out, "  {} ({}) reads {}", sink.name, sink.spec.name, events.join(", "));
        if !dead.is_empty() {
            let _ = writeln!(out, "    and the dead letters of {} topics", dead.len());
        }
    }
    explain_hops(topology, &mut out);
    out
}

fn explain_unit(unit: &Unit, topology: &Topology, out: &mut String) {
    let commit = unit.commit;
    let stages: Vec<&str> = unit.stages.iter().map(|stage| stage.name.as_str()).collect();
    let _ = writeln!(out, "unit {}, {} tasks, group {}", unit.name, unit.tasks, unit.group(&topology.pipeline));
    let _ = writeln!(
        out,
        "  One transaction holds what a worker does between two commits: outputs, state, dead letters and positions of \
         {}.",
        stages.join(", ")
    );
    let _ = writeln!(
        out,
        "  Commits: when the input is drained, but at least {} ms apart; under load after {} ms, {} records or {} bytes.",
        commit.gap_ms_min, commit.interval_ms_max, commit.records_max, commit.bytes_max
    );
    for stage in &unit.stages {
        explain_stage(stage, out);
    }
}

fn explain_stage(stage: &Stage, out: &mut String) {
    let _ = writeln!(out, "\n  stage {}, on_error {}", stage.name, stage.on_error.name());
    for input in &stage.inputs {
        let chain: Vec<&str> = input.chain.iter().map(|link| link.processor.name).collect();
        let end = input.output.as_deref().map(|output| format!(" → {output}")).unwrap_or_default();
        let _ = writeln!(out, "    {} → [{}]{end}", input.topic, chain.join(" → "));
    }
    let mut stores: Vec<&str> = Vec::new();
    for store in stage.inputs.iter().flat_map(|input| &input.chain).flat_map(|link| link.processor.stores) {
        if !stores.contains(&store.name) {
            stores.push(store.name);
        }
    }
    if !stores.is_empty() {
        let _ = writeln!(out, "    stores: {}", stores.join(", "));
    }
    for (port, topic) in &stage.ports {
        let _ = writeln!(out, "    port {port} → {topic}");
    }
    for reference in &stage.references {
        let _ = writeln!(out, "    reference table {} ← {}", reference.spec.name, reference.topic);
    }
}

fn explain_hops(topology: &Topology, out: &mut String) {
    out.push_str(
        "\nhops from what upstream systems write to what others read\n  A hop is one pass through a stage. Readers see \
         what is committed, so under steady load every hop adds at least\n  the commit gap of its unit.\n",
    );
    for source in topology.topics.values().filter(|topic| topic.role == Role::Ingest) {
        let routes = routes(topology, &source.name);
        for target in topology.topics.values().filter(|topic| topic.role == Role::Curated) {
            let ways = ways(topology, &routes, &target.name);
            if !ways.is_empty() {
                let _ = writeln!(out, "  {} → {}", source.name, target.name);
            }
            for way in ways {
                let stages: Vec<&str> = way.iter().map(|(_, stage)| stage.name.as_str()).collect();
                let floor_ms: u64 = way.iter().map(|(unit, _)| unit.commit.gap_ms_min).sum();
                let plural = if way.len() == 1 { "" } else { "s" };
                let _ = writeln!(out, "    {} hop{plural}, at least {floor_ms} ms: {}", way.len(), stages.join(", "));
            }
        }
    }
}

/// The shortest route to `target` by way of every stage that writes it, shortest first.
fn ways<'t>(topology: &'t Topology, routes: &BTreeMap<&str, Route<'t>>, target: &str) -> Vec<Route<'t>> {
    let mut ways = Vec::new();
    for unit in &topology.units {
        for stage in &unit.stages {
            let writing = stage.inputs.iter().filter(|input| stage.topics_written(input).contains(&target));
            let shortest = writing.filter_map(|input| routes.get(input.topic.as_str())).min_by_key(|route| route.len());
            ways.extend(shortest.map(|route| [&route[..], &[(unit, stage)]].concat()));
        }
    }
    ways.sort_by_key(Vec::len);
    ways
}

type Route<'t> = Vec<(&'t Unit, &'t Stage)>;

/// The route with the fewest hops from `source` to every topic that it reaches.
fn routes<'t>(topology: &'t Topology, source: &'t str) -> BTreeMap<&'t str, Route<'t>> {
    let mut routes: BTreeMap<&str, Route<'_>> = BTreeMap::from([(source, Vec::new())]);
    let mut queue = VecDeque::from([source]);
    while let Some(topic) = queue.pop_front() {
        let so_far = routes.get(topic).cloned().unwrap_or_default();
        for (unit, stage, written) in readers(topology, topic) {
            for next in written {
                if !routes.contains_key(next) {
                    let mut route = so_far.clone();
                    route.push((unit, stage));
                    routes.insert(next, route);
                    queue.push_back(next);
                }
            }
        }
    }
    routes
}

fn readers<'t>(topology: &'t Topology, topic: &str) -> Vec<(&'t Unit, &'t Stage, Vec<&'t str>)> {
    let mut readers = Vec::new();
    for unit in &topology.units {
        for stage in &unit.stages {
            for input in stage.inputs.iter().filter(|input| input.topic == topic) {
                readers.push((unit, stage, stage.topics_written(input)));
            }
        }
    }
    readers
}
