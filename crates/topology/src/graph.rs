//! The topology as a graph: Mermaid for Markdown, DOT for Graphviz, JSON for programs.
//!
//! Topics that only the engine uses and dead letters are left out of the drawings, since every stage has them.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::plan::{Role, Stage, Topic, Topology};
use crate::schema::sorted;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Mermaid,
    Dot,
    Json,
}

pub fn render(topology: &Topology, format: Format) -> String {
    match format {
        Format::Mermaid => mermaid(topology),
        Format::Dot => dot(topology),
        Format::Json => {
            let mut text = format!("{:#}", sorted(json(topology)));
            text.push('\n');
            text
        }
    }
}

struct Edge<'t> {
    from: Place<'t>,
    to: Place<'t>,
    line: Line,
}

#[derive(Clone, Copy)]
enum Place<'t> {
    Topic(&'t str),
    Stage(&'t str),
    Sink(&'t str),
}

/// Records, or a reference table that every worker holds whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Records,
    Reference,
}

fn edges(topology: &Topology) -> Vec<Edge<'_>> {
    let mut edges = Vec::new();
    for stage in stages(topology) {
        let here = Place::Stage(&stage.name);
        for input in &stage.inputs {
            edges.push(Edge { from: Place::Topic(&input.topic), to: here, line: Line::Records });
        }
        for reference in &stage.references {
            edges.push(Edge { from: Place::Topic(&reference.topic), to: here, line: Line::Reference });
        }
        let written = stage.inputs.iter().flat_map(|input| stage.topics_written(input));
        let mut seen = Vec::new();
        for topic in written {
            if !seen.contains(&topic) {
                seen.push(topic);
                edges.push(Edge { from: here, to: Place::Topic(topic), line: Line::Records });
            }
        }
    }
    for sink in &topology.sinks {
        for topic in sink.topics.iter().filter(|topic| topology.topics.get(*topic).is_some_and(is_drawn)) {
            edges.push(Edge { from: Place::Topic(topic), to: Place::Sink(&sink.name), line: Line::Records });
        }
    }
    edges
}

fn stages(topology: &Topology) -> impl Iterator<Item = &Stage> {
    topology.units.iter().flat_map(|unit| &unit.stages)
}

fn is_drawn(topic: &Topic) -> bool {
    match topic.role {
        Role::Ingest | Role::Internal | Role::Curated | Role::Reference => true,
        Role::DeadLetters
        | Role::Tasks
        | Role::StateLog
        | Role::Replays
        | Role::Redrive
        | Role::Parked
        | Role::Audit
        | Role::Reprocess => false,
    }
}

/// Every processor of the stage once, one per line.
fn processors<'t>(stage: &'t Stage, line_break: &str) -> String {
    let mut names: Vec<&'t str> = Vec::new();
    for link in stage.inputs.iter().flat_map(|input| &input.chain) {
        if !names.contains(&link.processor.name) {
            names.push(link.processor.name);
        }
    }
    names.join(line_break)
}

fn mermaid(topology: &Topology) -> String {
    let mut out = String::from("flowchart LR\n");
    for topic in topology.topics.values().filter(|topic| is_drawn(topic)) {
        let _ = writeln!(out, "  {}[(\"{}\")]:::{}", id(Place::Topic(&topic.name)), topic.name, topic.role.name());
    }
    for unit in &topology.units {
        let _ = writeln!(out, "  subgraph unit_{}[\"unit {}, {} tasks\"]", plain(&unit.name), unit.name, unit.tasks);
        for stage in &unit.stages {
            let chain = processors(stage, "<br/>");
            let _ = writeln!(out, "    {}[\"<b>{}</b><br/>{chain}\"]", id(Place::Stage(&stage.name)), stage.name);
        }
        out.push_str("  end\n");
    }
    for sink in &topology.sinks {
        let _ = writeln!(out, "  {}{{{{\"{} ({})\"}}}}", id(Place::Sink(&sink.name)), sink.name, sink.spec.name);
    }
    for edge in edges(topology) {
        let arrow = match edge.line {
            Line::Records => "-->",
            Line::Reference => "-.->",
        };
        let _ = writeln!(out, "  {} {arrow} {}", id(edge.from), id(edge.to));
    }
    out.push_str("  classDef ingest fill:#dbeafe,stroke:#1d4ed8,color:#111\n");
    out.push_str("  classDef internal fill:#f3f4f6,stroke:#6b7280,color:#111\n");
    out.push_str("  classDef curated fill:#dcfce7,stroke:#15803d,color:#111\n");
    out.push_str("  classDef reference fill:#fef9c3,stroke:#a16207,color:#111\n");
    out
}

fn dot(topology: &Topology) -> String {
    let mut out =
        format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n", topology.pipeline.name);
    for topic in topology.topics.values().filter(|topic| is_drawn(topic)) {
        let node = id(Place::Topic(&topic.name));
        let _ = writeln!(out, "  {node} [shape=cylinder, label=\"{}\\n{}\"];", topic.name, topic.role.name());
    }
    for unit in &topology.units {
        let _ = writeln!(out, "  subgraph cluster_{} {{", plain(&unit.name));
        let _ = writeln!(out, "    label=\"unit {}, {} tasks\";", unit.name, unit.tasks);
        for stage in &unit.stages {
            let (node, chain) = (id(Place::Stage(&stage.name)), processors(stage, "\\n"));
            let _ = writeln!(out, "    {node} [shape=box, label=\"{}\\n\\n{chain}\"];", stage.name);
        }
        out.push_str("  }\n");
    }
    for sink in &topology.sinks {
        let node = id(Place::Sink(&sink.name));
        let _ = writeln!(out, "  {node} [shape=hexagon, label=\"{} ({})\"];", sink.name, sink.spec.name);
    }
    for edge in edges(topology) {
        let style = match edge.line {
            Line::Records => "",
            Line::Reference => " [style=dashed]",
        };
        let _ = writeln!(out, "  {} -> {}{style};", id(edge.from), id(edge.to));
    }
    out.push_str("}\n");
    out
}

fn json(topology: &Topology) -> Value {
    let stage = |stage: &Stage| {
        let inputs = stage.inputs.iter().map(|input| {
            let chain: Vec<&str> = input.chain.iter().map(|link| link.processor.name).collect();
            json!({
                "topic": input.topic,
                "chain": chain,
                "output": input.output,
                "writes": stage.topics_written(input),
                "dead_letters": input.dead_letters,
            })
        });
        let references = stage.references.iter().map(|reference| (reference.spec.name, &reference.topic));
        json!({
            "name": stage.name,
            "on_error": stage.on_error.name(),
            "inputs": inputs.collect::<Vec<_>>(),
            "ports": stage.ports,
            "references": references.collect::<std::collections::BTreeMap<_, _>>(),
        })
    };
    let units = topology.units.iter().map(|unit| {
        json!({
            "name": unit.name,
            "tasks": unit.tasks,
            "group": unit.group(&topology.pipeline),
            "stages": unit.stages.iter().map(stage).collect::<Vec<_>>(),
        })
    });
    let topics = topology.topics.values().map(|topic| {
        json!({
            "name": topic.name,
            "role": topic.role.name(),
            "kind": topic.kind.map(|kind| kind.name),
            "partitions": topic.partitions,
        })
    });
    let sinks = topology
        .sinks
        .iter()
        .map(|sink| json!({"name": sink.name, "kind": sink.spec.name, "topics": sink.topics, "tasks": sink.tasks}));
    json!({
        "pipeline": topology.pipeline.name,
        "version": topology.pipeline.version,
        "config_hash": topology.pipeline.config_hash,
        "units": units.collect::<Vec<_>>(),
        "topics": topics.collect::<Vec<_>>(),
        "sinks": sinks.collect::<Vec<_>>(),
    })
}

fn id(place: Place<'_>) -> String {
    match place {
        Place::Topic(name) => format!("topic_{}", plain(name)),
        Place::Stage(name) => format!("stage_{}", plain(name)),
        Place::Sink(name) => format!("sink_{}", plain(name)),
    }
}

/// As an identifier. Names that the pipeline chooses hold no underscores, so no two of them become alike.
fn plain(name: &str) -> String {
    name.replace('-', "__").replace('.', "_")
}
