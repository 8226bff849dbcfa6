//! Cycles between inputs.
//!
//! An output passes every event on, so outputs alone that lead back make a record go round for ever. At a port a
//! processor decides what it writes, and must see to it that this ends; such a cycle is legal within one unit, where
//! state, positions and what is under way change in one transaction.

use std::collections::{BTreeMap, VecDeque};

use crate::codes;
use crate::findings::{Findings, place};

use super::View;

pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let nodes = nodes(view);
    let outputs: Vec<Vec<usize>> = nodes.iter().map(|node| readers(&nodes, &node.outputs)).collect();
    let all: Vec<Vec<usize>> =
        nodes.iter().map(|node| readers(&nodes, &[&node.outputs[..], &node.ports[..]].concat())).collect();
    let mut reported = vec![false; nodes.len()];
    for start in 0..nodes.len() {
        if let Some(cycle) = path_between(&outputs, &outputs[start], start).filter(|_| !reported[start]) {
            cycle.iter().for_each(|node| reported[*node] = true);
            report(&nodes, start, &cycle, &codes::CYCLE_ENDLESS, findings);
        }
    }
    for (start, next) in all.iter().enumerate() {
        let leaving: Vec<usize> = next.iter().copied().filter(|to| nodes[*to].unit != nodes[start].unit).collect();
        if let Some(cycle) = path_between(&all, &leaving, start).filter(|_| !reported[start]) {
            cycle.iter().for_each(|node| reported[*node] = true);
            report(&nodes, start, &cycle, &codes::CYCLE_ACROSS_UNITS, findings);
        }
    }
}

/// One input of one stage.
struct Node<'v> {
    stage: usize,
    input: usize,
    unit: Option<usize>,
    topic: &'v str,
    outputs: Vec<&'v str>,
    ports: Vec<&'v str>,
}

fn nodes<'v>(view: &View<'v>) -> Vec<Node<'v>> {
    let mut nodes = Vec::new();
    for stage in &view.stages {
        for (index, input) in stage.raw.input.iter().enumerate().filter(|(_, input)| !input.topic.is_empty()) {
            nodes.push(Node {
                stage: stage.index,
                input: index,
                unit: stage.unit,
                topic: &input.topic,
                outputs: input.output.as_deref().into_iter().collect(),
                ports: stage.port_topics(index).map(|(topic, _)| topic).collect(),
            });
        }
    }
    nodes
}

fn readers(nodes: &[Node<'_>], topics: &[&str]) -> Vec<usize> {
    (0..nodes.len()).filter(|node| topics.contains(&nodes[*node].topic)).collect()
}

/// The shortest way from one of `from` to `to`, both included.
fn path_between(edges: &[Vec<usize>], from: &[usize], to: usize) -> Option<Vec<usize>> {
    let mut before: BTreeMap<usize, usize> = BTreeMap::new();
    let mut seen = vec![false; edges.len()];
    let mut queue: VecDeque<usize> = from.iter().copied().collect();
    from.iter().for_each(|node| seen[*node] = true);
    while let Some(node) = queue.pop_front() {
        if node == to {
            let mut path = vec![node];
            while let Some(previous) = path.last().and_then(|last| before.get(last)) {
                path.push(*previous);
            }
            path.reverse();
            return Some(path);
        }
        for next in edges[node].iter().filter(|next| !std::mem::replace(&mut seen[**next], true)) {
            before.insert(*next, node);
            queue.push_back(*next);
        }
    }
    None
}

fn report(nodes: &[Node<'_>], start: usize, cycle: &[usize], code: &'static codes::Code, findings: &mut Findings) {
    let topics: Vec<_> = cycle.iter().map(|node| format!("`{}`", nodes[*node].topic)).collect();
    let message = format!("`{}` leads to {}", nodes[start].topic, topics.join(", then to "));
    findings.add(place!["stage", nodes[start].stage, "input", nodes[start].input, "topic"], code, message);
}
