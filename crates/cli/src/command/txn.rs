//! `tidemill txn`: transactions that hold readers back, and the end of those that nobody else will end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tidemill_audit::{Action, Outcome};
use tidemill_runtime::broker::{Decision, OpenTransaction, Standing, TopicPartition};
use tidemill_runtime::stable_offset::readers;
use tidemill_runtime::succession::Settled;
use tidemill_runtime::supervise::is_slot;
use tidemill_topology::plan::Broker;

use crate::args::{Global, TxnAbortArgs, TxnCommand};
use crate::command::provision::confirm;
use crate::exit::{Exit, Failure};
use crate::output::{self, count};
use crate::session::{Access, Session};

/// Two looks this far apart have to agree before anything is aborted. A coordinator that has only just taken over, or a
/// transaction that is about to end, looks different by then.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(2);

#[derive(Serialize)]
pub(super) struct TransactionView {
    topic: String,
    partition: u32,
    /// `hanging`, or what its coordinator calls it.
    state: String,
    producer_id: i64,
    producer_epoch: i16,
    transactional_id: Option<String>,
    start_offset: u64,
    /// Since its start as the coordinator knows it, or since the timestamp of its last record.
    age_seconds: i64,
    /// Who of the pipeline waits for it.
    waiting: Vec<String>,
}

pub(super) fn run(global: &Global, command: &TxnCommand) -> Result<Exit, Failure> {
    let session = Session::open(global, Access::Read)?;
    match command {
        TxnCommand::List => {
            show(global, &session, &of_pipeline(&session)?)?;
            Ok(Exit::Ok)
        }
        TxnCommand::FindHanging => {
            let mut open = of_pipeline(&session)?;
            open.retain(OpenTransaction::is_hanging);
            show(global, &session, &open)?;
            Ok(if open.is_empty() { Exit::Ok } else { Exit::Findings })
        }
        TxnCommand::Abort(args) => abort(global, &session, args),
    }
}

/// Open on any topic of the pipeline, its group's offsets included.
fn of_pipeline(session: &Session) -> Result<Vec<OpenTransaction>, Failure> {
    let is_ours = |topic: &str| session.topology.topics.contains_key(topic) || topic == "__consumer_offsets";
    open_on(session, is_ours)
}

fn open_on(session: &Session, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<OpenTransaction>, Failure> {
    let topics = session.broker.topics()?;
    let partitions: Vec<TopicPartition> = topics
        .iter()
        .filter(|topic| is_wanted(&topic.name))
        .flat_map(|topic| (0..topic.partitions).map(|number| TopicPartition::new(topic.name.as_str(), number)))
        .collect();
    Ok(session.broker.open_transactions(&partitions)?)
}

fn abort(global: &Global, session: &Session, args: &TxnAbortArgs) -> Result<Exit, Failure> {
    if args.reason.trim().is_empty() {
        return Err(Failure::new(Exit::Usage, "the reason is empty").hint("Say why, for those who read it later."));
    }
    let meant = find(session, args)?;
    let running: Vec<&OpenTransaction> = meant.iter().filter(|one| !one.is_hanging()).collect();
    if let (Some(one), false) = (running.first(), args.force_running) {
        let message = format!(
            "producer {} is still run by its coordinator on {} of {} partitions",
            one.producer_id,
            running.len(),
            meant.len()
        );
        return Err(Failure::new(Exit::Refused, message).hint(
            "It ends by itself at its time-out; stop its producer to end it sooner. `--force-running` aborts it all the same.",
        ));
    }
    if !args.yes {
        if !global.json {
            show(global, session, &meant)?;
        }
        confirm(&format!("Abort this on all {} partitions? What it wrote will never be read.", meant.len()))?;
    }
    session.clock.sleep(SECOND_LOOK_AFTER);
    let again = find(session, args)?;
    let is_unchanged = again.len() == meant.len()
        && again.iter().zip(&meant).all(|(one, other)| one.is_same(other) && one.is_hanging() == other.is_hanging());
    if !is_unchanged {
        return Err(Failure::new(
            Exit::Refused,
            "it changed while it was looked at, so somebody is still at work on it",
        )
        .hint("Look again with `tidemill txn list`."));
    }
    let finished = finish_decided(session, &again)?;
    let again: Vec<OpenTransaction> = again.into_iter().filter(|one| !is_of(&finished, one)).collect();
    session.broker.abort_transactions(&again)?;
    note(session, &again, &finished, &args.reason)?;
    for one in &again {
        tracing::warn!(
            code = "transaction_aborted_by_hand",
            topic = %one.partition.topic,
            partition = one.partition.partition,
            producer_id = one.producer_id,
            start_offset = one.start_offset,
            transactional_id = one.transactional_id.as_deref(),
            reason = args.reason,
            "aborted"
        );
    }
    if global.json {
        let aborted = views(session, &again);
        let finished: Vec<_> =
            finished.iter().map(|(id, decision)| json!({"transactional_id": id, "as": decision.name()})).collect();
        output::json(&json!({"event": "result", "aborted": aborted, "finished": finished, "reason": args.reason}))?;
    } else {
        for (id, decision) in &finished {
            output::line(&format!("finished: {id}; its coordinator had decided on: {}", decision.name()))?;
        }
        for one in &again {
            let TopicPartition { topic, partition } = &one.partition;
            output::line(&format!(
                "aborted: producer {} on {topic}-{partition} from offset {}",
                one.producer_id, one.start_offset
            ))?;
        }
    }
    Ok(Exit::Ok)
}

/// Written after it was done, because nothing can be written behind the transaction before.
fn note(
    session: &Session,
    aborted: &[OpenTransaction],
    finished: &BTreeMap<String, Decision>,
    reason: &str,
) -> Result<(), Failure> {
    let name = |one: &OpenTransaction| {
        let TopicPartition { topic, partition } = &one.partition;
        format!("producer {} on {topic}-{partition} from {}", one.producer_id, one.start_offset)
    };
    let ended = finished.iter().map(|(id, decision)| format!("{id}: {}", decision.name()));
    let detail: Vec<String> = aborted.iter().map(name).chain(ended).collect();
    let counts = [("aborted", aborted.len() as u64), ("finished", finished.len() as u64)];
    let action = Action {
        actor: String::new(),
        verb: "txn.abort".to_owned(),
        object: session.topology.pipeline.name.clone(),
        outcome: Outcome::Done,
        reason: reason.to_owned(),
        plan_hash: None,
        counts: counts.map(|(name, count)| (name.to_owned(), count)).into(),
        detail: detail.join("; "),
    };
    session.operator()?.act(action, |_| Ok(()))?;
    Ok(())
}

/// What a slot left behind although its coordinator had ended it, ends as it was decided: to abort what is committed
/// elsewhere would lose outcomes.
fn finish_decided(session: &Session, meant: &[OpenTransaction]) -> Result<BTreeMap<String, Decision>, Failure> {
    let succession = session.succession()?;
    let hanging = meant.iter().filter(|one| one.is_hanging());
    let ids: BTreeSet<&str> = hanging.filter_map(|one| one.transactional_id.as_deref()).collect();
    let mut finished = BTreeMap::new();
    for id in ids.into_iter().filter(|id| is_slot(&session.topology, id)) {
        if let Some(Settled::Finished(decision)) = succession.heal(id)? {
            finished.insert(id.to_owned(), decision);
        }
    }
    Ok(finished)
}

fn is_of(finished: &BTreeMap<String, Decision>, one: &OpenTransaction) -> bool {
    one.transactional_id.as_ref().is_some_and(|id| finished.contains_key(id))
}

/// Everything that is open of the producers that are meant, on all topics of the cluster: a transaction that ends on some
/// of its partitions only is not one.
fn find(session: &Session, args: &TxnAbortArgs) -> Result<Vec<OpenTransaction>, Failure> {
    let nothing = |what: &str| {
        Failure::new(Exit::Findings, format!("{what}: no transaction is open"))
            .hint("`tidemill txn list` shows what is open on the topics of the pipeline.")
    };
    let mut open = open_on(session, |_| true)?;
    let producers: Vec<i64> = match (args.producer_id, &args.partition) {
        (Some(producer), _) => vec![producer],
        (None, Some(partition)) => {
            let partition = partition_named(partition)?;
            // Of several the one that readers meet first.
            let first = open.iter().find(|one| one.partition == partition && (one.is_hanging() || args.force_running));
            let first = first.or_else(|| open.iter().find(|one| one.partition == partition));
            first.map(|one| one.producer_id).into_iter().collect()
        }
        (None, None) => Vec::new(),
    };
    open.retain(|one| producers.contains(&one.producer_id));
    if open.is_empty() {
        let what =
            args.partition.clone().unwrap_or_else(|| format!("producer {}", args.producer_id.unwrap_or_default()));
        return Err(nothing(&what));
    }
    Ok(open)
}

fn partition_named(text: &str) -> Result<TopicPartition, Failure> {
    let parts = text.rsplit_once('-').and_then(|(topic, number)| Some((topic, number.parse().ok()?)));
    let (topic, number) = parts.ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{text}` is not of the form TOPIC-N"))
            .hint("Such as payments.requested.v1-0.")
    })?;
    Ok(TopicPartition::new(topic, number))
}

pub(super) fn views(session: &Session, open: &[OpenTransaction]) -> Vec<TransactionView> {
    let readers: BTreeMap<TopicPartition, Vec<String>> = readers(&session.topology);
    let now_ms = session.clock.unix_ms();
    let view = |one: &OpenTransaction| TransactionView {
        topic: one.partition.topic.to_string(),
        partition: one.partition.partition,
        state: match &one.standing {
            Standing::Running { state, .. } => state.to_lowercase(),
            Standing::Hanging => "hanging".to_owned(),
        },
        producer_id: one.producer_id,
        producer_epoch: one.producer_epoch,
        transactional_id: one.transactional_id.clone(),
        start_offset: one.start_offset,
        age_seconds: (now_ms - one.since_ms()).max(0) / 1_000,
        waiting: readers.get(&one.partition).cloned().unwrap_or_default(),
    };
    open.iter().map(view).collect()
}

fn show(global: &Global, session: &Session, open: &[OpenTransaction]) -> Result<(), Failure> {
    let views = views(session, open);
    if global.json {
        return output::json(&views);
    }
    if views.is_empty() {
        let is_embedded = matches!(session.topology.broker, Broker::Embedded { .. });
        return output::line(match is_embedded {
            true => "none: the embedded broker leaves no transaction open",
            false => "none",
        });
    }
    print(&views)
}

pub(super) fn print(views: &[TransactionView]) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = views
        .iter()
        .map(|view| {
            vec![
                view.topic.clone(),
                view.partition.to_string(),
                view.state.clone(),
                view.producer_id.to_string(),
                view.transactional_id.clone().unwrap_or_else(|| "-".to_owned()),
                count(view.start_offset),
                count(view.age_seconds.unsigned_abs()),
                view.waiting.join(", "),
            ]
        })
        .collect();
    output::table(&["topic", "partition", "state", "producer", "slot", "start offset", "age s", "waiting"], &rows)
}
