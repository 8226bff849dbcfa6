//! What the engine reports with a code, besides what it answers to records: in logs, in `/readyz` and in `status`.

/// A state of the engine or of something it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    pub code: &'static str,
    /// What is the case.
    pub summary: &'static str,
    /// What to do about it. Where nothing has to be done, it says so.
    pub remedy: &'static str,
}

/// Every condition, by code.
pub static CONDITIONS: &[Condition] = &[
    Condition {
        code: "broker_unavailable",
        summary: "A task cannot be started, because the broker does not answer or refuses.",
        remedy: "It is tried again, ever more slowly up to 30 s. The message names the call; look at the broker.",
    },
    Condition {
        code: "checkpoint_unreadable",
        summary: "A checkpoint in the state log was written in a format that this version does not read.",
        remedy: "Run the version that wrote it. No other task is held up, and nothing is processed without a checkpoint.",
    },
    Condition {
        code: "circuit_open",
        summary: "So many records of a stage failed that its worker has stopped, instead of filling the dead letters.",
        remedy: "Look at the last dead letters with `tidemill dlq stats`. Undo what was deployed, or mend what they have in \
                 common, and start the worker again: it goes on where it was. The limits are the stage's `circuit`.",
    },
    Condition {
        code: "colour_taken",
        summary: "The colour of a new pipeline is that of the live one.",
        remedy: "Give the new one another with `--as`.",
    },
    Condition {
        code: "cutover_under_way",
        summary: "One pipeline is taking over from another, and nobody else may write for either.",
        remedy: "Finish it with `tidemill reprocess cutover`, which goes on where it was, or undo it with `tidemill reprocess abort`, which can be done until readers are turned.",
    },
    Condition {
        code: "group_not_left",
        summary: "A worker that stops for good could not take its slot out of the group.",
        remedy: "Nothing has to be done: others get its tasks when the session has run out. If it repeats, the message says \
                 what the broker refuses; a cluster that does not speak `PLAINTEXT` always does.",
    },
    Condition {
        code: "group_offsets_disagree",
        summary: "The group's committed offset of an input is not the position in the state log, or is gone.",
        remedy: "Nothing has to be done: the state log is right and is used, and the next commit puts the group's offset \
                 right. If nobody set offsets by hand, the broker has lost some: look at its log.",
    },
    Condition {
        code: "journal_tail_cut",
        summary: "The embedded broker was killed while it wrote; the unfinished end of its journal was cut off.",
        remedy: "Nothing has to be done: what was cut off was never committed.",
    },
    Condition {
        code: "member_close_stuck",
        summary: "The client library did not close a membership within 5 s.",
        remedy: "Nothing is lost and the worker goes on. One client's memory and threads stay until the process ends; \
                 restart it when convenient.",
    },
    Condition {
        code: "member_lost",
        summary: "A worker is no longer a member of its group, and joins again.",
        remedy: "Nothing has to be done once. If it repeats, the process stalls for longer than the session time-out, or \
                 two processes share one instance name.",
    },
    Condition {
        code: "offsets_gone",
        summary: "A position would be moved to before the beginning of its partition.",
        remedy: "Name a later offset or time: what was before is deleted.",
    },
    Condition {
        code: "panic",
        summary: "A thread panicked. In a processor that is a dead letter with the code `bug`.",
        remedy: "Report it with the place that the log names.",
    },
    Condition {
        code: "parked_left",
        summary: "Keys are parked whose stage does not park any more: nobody would release what waits, so the worker stops.",
        remedy: "Set the stage's `on_error` to `park` again and resolve what is parked (`tidemill parked ls`); change it then.",
    },
    Condition {
        code: "parked_too_long",
        summary: "A record arrived for a key that has been parked for longer than the stage allows: its worker has stopped.",
        remedy: "Resolve what the key waits for, with `tidemill parked ls` and `tidemill dlq`, and start the worker again: it \
                 takes in what was decided first. Or raise `age_s_max` of the stage's `parking`. Nothing is lost: what was \
                 not parked is read again.",
    },
    Condition {
        code: "parking_full",
        summary: "More keys, or more records of one key, wait behind failed records than the stage allows: its worker has \
                  stopped.",
        remedy: "Resolve dead letters with `tidemill dlq` or `tidemill parked`, then start the worker again; or raise the \
                 limits of the stage's `parking`. Nothing is lost: what was not parked is read again.",
    },
    Condition {
        code: "pipeline_not_live",
        summary: "Somebody wants to run a pipeline that is not the live one over its inputs.",
        remedy: "`tidemill reprocess start` runs it up to where the live one is; `cutover` makes it the live one.",
    },
    Condition {
        code: "pipeline_retired",
        summary: "Another pipeline over the same inputs takes over from this one, so its workers stop.",
        remedy: "Start them again once the cutover has ended, with the topology file of the new pipeline: `run` starts the live one.",
    },
    Condition {
        code: "pipeline_runs",
        summary: "Positions would be moved while somebody reads on from them.",
        remedy: "Stop the processes of the unit or sink, then apply the same plan.",
    },
    Condition {
        code: "plan_stale",
        summary: "What a plan was made for has changed since.",
        remedy: "Look at what has changed and make a new plan.",
    },
    Condition {
        code: "producer_recycled",
        summary: "The end of a transaction is not known, or the producer was fenced; the state log is asked.",
        remedy: "Nothing has to be done once: whatever was not committed is done again. If it repeats, brokers come and go, \
                 or two processes share one instance name.",
    },
    Condition {
        code: "records_not_deleted",
        summary: "The broker did not delete what is dead in a state log or among parked records.",
        remedy: "Nothing has to be done once: it is asked again with the next pass. If it repeats, the message says what the \
                 broker refuses; the topic's `cleanup.policy` has to be `delete`.",
    },
    Condition {
        code: "records_unaccounted",
        summary: "Records of a partition came in and are not among those that were posted, rejected, parked or otherwise \
                  came to an end, or what a stage has written did not reach the next.",
        remedy: "The log and `tidemill status` name topic, partition and, for records that were passed, the first offsets. \
                 Stop the pipeline before retention deletes them, keep its state directory, and report it: this is a fault \
                 of the engine or the broker. If a state log was emptied and begun anew, or somebody else writes to a topic \
                 between two stages, that is the reason.",
    },
    Condition {
        code: "reference_refused",
        summary: "An entry of a reference table cannot be used; the table stays as it was.",
        remedy: "Correct the entry and publish it again under the same key.",
    },
    Condition {
        code: "registry_unavailable",
        summary: "The schema registry does not answer, so the worker reads nothing.",
        remedy: "It goes on by itself when the registry answers. Nothing is lost or sent to the dead letters meanwhile.",
    },
    Condition {
        code: "reprocess_busy",
        summary: "A reprocess under another colour is under way.",
        remedy: "Finish it with `tidemill reprocess cutover`, or take it away with `abort`: there is one at a time.",
    },
    Condition {
        code: "reprocess_inputs_cut",
        summary: "An input topic has lost its beginning, so that state cannot be built from it.",
        remedy: "Restore the topic, and keep inputs without a limit (no `retention_days`) where they shall be processed anew.",
    },
    Condition {
        code: "reprocess_needs_beginning",
        summary: "A pipeline with state would begin in the middle of its inputs.",
        remedy: "Begin at the beginning: what state holds comes of everything before.",
    },
    Condition {
        code: "reprocess_other_configuration",
        summary: "A topology is not the one with which the reprocess was begun.",
        remedy: "Name the same files with `--topology` and `--with`, or `abort` and begin anew.",
    },
    Condition {
        code: "reprocess_outcomes_missing",
        summary: "Payments have an outcome in the live pipeline and none in the new one.",
        remedy: "Dead letters that were mended on their way back are not part of the inputs. `abort`, put the mended records into the inputs and begin anew; or `--accept-missing`.",
    },
    Condition {
        code: "reprocess_removed",
        summary: "The new pipeline is being taken away.",
        remedy: "Finish that with `tidemill reprocess abort`.",
    },
    Condition {
        code: "reprocess_unknown",
        summary: "No reprocess of this colour is under way.",
        remedy: "`tidemill reprocess status` shows what is; `start` begins one.",
    },
    Condition {
        code: "rewind_reaches_outside",
        summary: "The sink reaches people or systems outside, and would do so a second time.",
        remedy: "Send single records again from where they come from.",
    },
    Condition {
        code: "rewind_stateful",
        summary: "The unit keeps state, which holds what came of the records already.",
        remedy: "`tidemill reprocess start` runs the inputs through a second pipeline; compare, then `cutover`.",
    },
    Condition {
        code: "rewind_target_unknown",
        summary: "There is no unit or sink of this name.",
        remedy: "`tidemill explain` shows units and sinks.",
    },
    Condition {
        code: "sink_restarted",
        summary: "A sink lost its place in its group or was fenced by another instance, and joins again.",
        remedy: "Nothing has to be done once. If it repeats, two processes share one instance name.",
    },
    Condition {
        code: "sink_unavailable",
        summary: "The database of a sink does not answer.",
        remedy: "It is tried again, ever more slowly up to 5 s, and goes on by itself. The read model is behind meanwhile.",
    },
    Condition {
        code: "sink_went_back",
        summary: "The database of a sink stands further back than what it was told: it was restored, or lost its last writes.",
        remedy: "Nothing has to be done: the sink writes again what is missing.",
    },
    Condition {
        code: "stable_offset_stuck",
        summary: "A transaction of somebody else does not end, and nothing behind it can be read.",
        remedy: "`tidemill txn list` shows whose it is. If its producer is alive, wait for it; if `tidemill txn find-hanging` \
                 lists it, end it with `tidemill txn abort`: its work is done again.",
    },
    Condition {
        code: "standbys_unavailable",
        summary: "The unit is to have standbys, and the broker does not say who owns which task.",
        remedy: "Work goes on without standbys: a take-over restores what is not on the disk. The message says what the \
                 broker refuses; a cluster that does not speak `PLAINTEXT` always does. Set `standbys = 0` to be rid of it.",
    },
    Condition {
        code: "state_log_cut",
        summary: "The state of that offset cannot be told any more: what it consisted of is deleted from the log.",
        remedy: "Ask for a later offset; the log keeps what is live, and history only until it is cleaned.",
    },
    Condition {
        code: "state_log_damaged",
        summary: "A record of the state log is not as it was written.",
        remedy: "Kafka's checksums rule out the disk and the network, so somebody else writes to the topic: find out who. \
                 Restore the topic, or begin a new pipeline and replay its inputs into it.",
    },
    Condition {
        code: "state_log_format",
        summary: "The state log was written in a format that this version does not read.",
        remedy: "Run the version that wrote it, or begin a pipeline with a new name and replay the inputs into it. Nothing is \
                 processed meanwhile.",
    },
    Condition {
        code: "state_log_lost",
        summary: "The state log of a task is empty although the group says that the task has worked, or lacks entries at its \
                  beginning.",
        remedy: "The topic was emptied, cut or made anew; see that it has no retention. Restore it. To begin anew on purpose, with everything processed a \
                 second time, delete the group's offsets.",
    },
    Condition {
        code: "store_rebuilt",
        summary: "A local store was damaged, or belongs to another log; it is dropped and rebuilt from the state log.",
        remedy: "Nothing has to be done once. If it repeats on one machine, its disk does not keep what it is given: \
                 replace it. After three times a store rests for 10 minutes.",
    },
    Condition {
        code: "store_unavailable",
        summary: "A local store cannot be opened or written: the disk is full, or access is denied.",
        remedy: "Make room on the disk of `state_dir`, or mend its permissions. The task waits and goes on by itself, and \
                 tasks whose stores can be written are not held up.",
    },
    Condition {
        code: "task_restoring",
        summary: "The local store is behind the state log and follows it.",
        remedy: "Wait: the message and `tidemill status` say how long. A standby or an undamaged disk saves it next time.",
    },
    Condition {
        code: "tasks_lost",
        summary: "The group gave tasks of this worker to others, because it did not answer within the session time-out.",
        remedy: "Nothing has to be done once. If it repeats, the process stalls: look at its CPU, memory and disk.",
    },
    Condition {
        code: "tasks_not_released",
        summary: "A worker that stopped could not say in the state log that its tasks are free.",
        remedy: "Nothing has to be done: the next owner ends what was left open.",
    },
    Condition {
        code: "tasks_unowned",
        summary: "The group had given tasks to nobody, as it can happen when a broker restarts during a rebalance.",
        remedy: "Nothing has to be done: a worker leaves the group and joins it again, and the tasks are shared out anew.",
    },
    Condition {
        code: "thread_not_started",
        summary: "The operating system gave no thread for the start of a task.",
        remedy: "The worker fails and tries again. Raise the limit of threads or processes of this user, or free memory.",
    },
    Condition {
        code: "topology_replaced",
        summary: "The topology file is the one that a cutover has replaced.",
        remedy: "Deploy the file that the cutover was made with.",
    },
    Condition {
        code: "transaction_aborted",
        summary: "A transaction was aborted; its work is done again.",
        remedy: "Nothing has to be done once. If it repeats, the message says what the broker refuses.",
    },
    Condition {
        code: "transaction_aborted_by_hand",
        summary: "An operator aborted a transaction with `tidemill txn abort`; the log names it and the reason.",
        remedy: "Nothing has to be done: work of this pipeline that was in it is done again.",
    },
    Condition {
        code: "transaction_finished",
        summary: "A transaction had ended and was still open on partitions; it is ended there now in the same way.",
        remedy: "Nothing has to be done. A broker that was killed had left it so; if none was, look at the brokers' logs.",
    },
    Condition {
        code: "transaction_left_open",
        summary: "A transaction of a slot has ended and is open on partitions, and nobody knows whether it was committed. The \
                  slot writes nothing, because that would commit or abort this data, too.",
        remedy: "Read the partitions that the log names with a `read_uncommitted` reader if you must know what is at stake, \
                 and end it with `tidemill txn abort`. The slot goes on by itself within seconds.",
    },
    Condition {
        code: "waiting_for_transaction",
        summary: "A task is about to start and waits for a transaction of somebody else that is open on its state log.",
        remedy: "The message names the producer. One that is alive ends it within seconds, one that is dead at its time-out. \
                 After 15 s `stable_offset_stuck` is reported, with what to do.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn reported(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("the sources are there") {
            let path = entry.expect("can be listed").path();
            if path.is_dir() {
                reported(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("is text");
                let codes = text.split("code = \"").skip(1).filter_map(|rest| rest.split('"').next());
                let is_code = |code: &&str| code.chars().all(|char| char.is_ascii_lowercase() || char == '_');
                found.extend(codes.filter(is_code).map(ToOwned::to_owned));
            }
        }
    }

    #[test]
    fn every_code_that_is_logged_is_explained() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = BTreeSet::new();
        for part in ["runtime/src", "cli/src", "console/src"] {
            reported(&sources.join(part), &mut found);
        }
        found.remove("");
        assert!(found.len() > 10, "too few codes to prove anything: {found:?}");
        for code in found {
            assert!(CONDITIONS.iter().any(|condition| condition.code == code), "{code} is not among the conditions");
        }
    }

    #[test]
    fn conditions_stand_in_order_and_end_in_full_stops() {
        assert!(CONDITIONS.is_sorted_by(|before, after| before.code < after.code));
        for condition in CONDITIONS {
            assert!(condition.summary.ends_with('.') && condition.remedy.ends_with('.'), "{condition:?}");
        }
    }
}
