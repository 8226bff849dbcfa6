//! Every finding the compiler can make: stable code, severity, what is the case, what to do.
//!
//! Documentation and `tidemill explain CODE` read this table. A code that has been published is never reused.

use tidemill_core::Severity;

/// One kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `TM0102`: the first two digits are the area, in the order of the sections of the file.
    pub code: &'static str,
    pub severity: Severity,
    /// What is the case, in one sentence.
    pub summary: &'static str,
    /// What to do about it, and why it matters where that is not plain.
    pub remedy: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal $severity:ident $summary:literal $remedy:literal;)*) => {
        $(pub const $name: Code = Code {
            code: $code,
            severity: Severity::$severity,
            summary: $summary,
            remedy: $remedy,
        };)*
        /// All of them, in ascending order.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    SYNTAX = "TM0101" Error "The file is not valid TOML." "Mend the syntax; other findings are only looked for afterwards.";
    UNKNOWN_KEY = "TM0102" Error "A key is not one that this table has." "Take the spelling the hint suggests, or remove the key. Nothing is ever ignored.";
    MISSING_KEY = "TM0103" Error "A key that this table needs is not there." "Add it.";
    WRONG_TYPE = "TM0104" Error "A value is of another type than its key wants." "Write a value of the type that is named.";
    OUT_OF_RANGE = "TM0105" Error "A value is outside its limits." "Choose a value within the limits that are named.";
    VARIABLE_MISSING = "TM0106" Error "A variable without a default is not set." "Set it in the environment, or give a default with `${NAME:-default}`.";
    VARIABLE_MALFORMED = "TM0107" Error "A reference to a variable cannot be read." "Write `${NAME}`, `${NAME:-default}` or `${NAME:?message}`; a literal `${` is written `$${`.";
    SECRET_FILE = "TM0108" Error "The file that holds a secret cannot be read." "Check the path and who may read it.";
    OVERRIDE = "TM0109" Error "A value given on the command line fits no place in the file." "Write `--set unit.main.tasks=2`: sections that occur more than once are chosen by their name.";
    UNKNOWN_CHOICE = "TM0110" Error "A value is not one of those its key allows." "Take one of those that are named.";

    NAME_MALFORMED = "TM0201" Error "A name is not lowercase letters, digits and hyphens." "Names become parts of topic, group and metric names; keep to `[a-z][a-z0-9-]*`, 40 characters at most.";
    NAME_DUPLICATE = "TM0202" Error "Two sections of one sort have the same name." "Give each a name of its own.";
    TOPIC_NAME = "TM0203" Error "A topic that the pipeline writes is not named `<domain>.<event>.v<N>`." "Rename it: consumers rely on the version in the name when the schema changes incompatibly.";
    TOPIC_NAME_UPSTREAM = "TM0204" Warning "A topic that others write is not named `<domain>.<event>.v<N>`." "Agree on a name with a version, or live with the warning if the topic is not yours.";

    UNIT_UNKNOWN = "TM0301" Error "A stage names a unit that does not exist." "Name one of the units, or add the unit.";
    UNIT_EMPTY = "TM0302" Error "A unit has no stages." "Give it a stage or remove it.";
    COMMIT_GAP = "TM0303" Error "The least gap between commits is longer than the longest interval." "Lower `commit_gap_ms_min` or raise `commit_interval_ms_max`.";
    COMMIT_TIMEOUT = "TM0304" Error "Transactions are not given time to finish." "Keep `transaction_timeout_ms` at four times `commit_interval_ms_max` or more: the broker aborts what takes longer.";
    COMMIT_SLOW = "TM0305" Warning "Commits are more than a second apart." "Every hop adds up to this interval to the latency of every record; lower `commit_interval_ms_max`.";
    SESSION_TIMEOUT = "TM0306" Warning "The session timeout is outside what suits a broker and an operator." "Keep it between 6,000 ms, below which brokers refuse by default, and 45,000 ms, above which take-over from a dead worker is slow.";
    TASK_COUNTS = "TM0307" Error "Units with different numbers of tasks read the same topic." "Task p reads partition p, so all readers of a topic have as many tasks as it has partitions.";

    PROCESSOR_UNKNOWN = "TM0401" Error "A chain names a processor that does not exist." "Take one of the processors; `tidemill dev catalog` lists them.";
    SETTINGS_REFUSED = "TM0402" Error "A processor refuses its settings." "Mend the setting that is named.";
    SETTINGS_UNUSED = "TM0403" Error "There are settings for a processor that no chain of the stage uses." "Put the processor into a chain or remove its settings.";
    PORT_UNCONNECTED = "TM0404" Error "A processor's port leads to no topic." "Name a topic for it under `[stage.ports]`: nothing that a processor writes is dropped.";
    PORT_UNKNOWN = "TM0405" Error "No processor of the stage has this port." "Take the spelling the hint suggests, or remove the line.";
    REFERENCE_UNCONNECTED = "TM0406" Error "A processor's reference table has no topic." "Name a topic for it under `[stage.references]`.";
    REFERENCE_UNKNOWN = "TM0407" Error "No processor of the stage reads this reference table." "Take the spelling the hint suggests, or remove the line.";
    ON_ERROR_UNSTATED = "TM0408" Error "Money moves in a stage that does not say what happens to records that fail." "State `on_error = \"dlq\"` or `\"stop\"`: with money it is a decision, not a default.";
    TOPIC_READ_TWICE = "TM0409" Error "One unit reads a topic twice." "A unit has one position per topic. Put both steps into one chain, or one of the stages into a unit of its own.";
    STORE_SHARED = "TM0410" Error "Two stages of one unit use the same store." "A store belongs to one stage. Put the processors into one stage, or the stages into units of their own.";
    KEY_MISMATCH = "TM0411" Error "State kept under one key is fed from records with another key." "Records of one key would spread over several tasks. Let an earlier stage write the records under the right key.";
    KEY_UNSTATED = "TM0412" Error "State is fed from a topic of which nobody says what its key is." "If its producers key it as needed, say so: `keyed_by` under `[topics.\"…\"]`.";
    NO_EFFECT = "TM0413" Warning "An input of a stage has no effect." "Its chain passes nothing on, writes to no port and keeps no state; remove it, or add the processor that is missing.";

    KIND_MISMATCH = "TM0501" Error "A processor is given an event of a kind it does not take." "Put the processor between that makes the one from the other, or read another topic.";
    CHAIN_CONTINUES = "TM0502" Error "A chain goes on after a processor that passes nothing on." "Remove what follows, or move it into a chain of its own.";
    OUTPUT_EMPTY = "TM0503" Error "An input has an output, but its chain passes nothing on." "Remove `output`; what the processors write leaves by their ports.";
    OUTPUT_MISSING = "TM0504" Error "A chain passes events on, but there is no output." "Name the topic with `output`, or end the chain with a processor that keeps the event.";
    OUTPUT_NO_SCHEMA = "TM0505" Error "Events that only exist between two processors would be written to a topic." "Add the processors that follow to the chain, so that it ends with a kind that has a schema.";
    WRITERS_DISAGREE = "TM0506" Error "One topic would hold events of two kinds." "Give each kind a topic of its own.";
    KIND_UNKNOWN_HEAD = "TM0507" Error "What lies in a topic cannot be told from its readers." "Say it with `kind` under `[topics.\"…\"]`.";
    KIND_UNKNOWN = "TM0508" Error "There is no event of this kind." "Take the spelling the hint suggests.";
    KIND_CONTRADICTED = "TM0509" Error "A topic is declared to hold another kind than is written to it." "Remove the declaration or mend the writer.";
    CYCLE_ENDLESS = "TM0510" Error "Outputs lead back to where they came from." "Every record would go round for ever. Only ports may lead back, because there a processor decides whether anything goes on.";
    CYCLE_ACROSS_UNITS = "TM0511" Error "A cycle runs through several units." "A cycle must lie within one unit, where one transaction covers what is under way. Move its stages into one unit.";
    NEVER_WRITTEN = "TM0512" Warning "A stage reads a topic that nothing in the pipeline writes." "If upstream systems write it, say so by stating its `kind` under `[topics.\"…\"]`; otherwise mend the name.";
    SAME_NAME_TWO_KINDS = "TM0513" Error "Two processors of one stage mean different things by the same name." "Put them into stages of their own.";

    TOPIC_UNUSED = "TM0601" Warning "A topic is configured but not used." "Remove the section or mend its name.";
    PARTITIONS = "TM0602" Error "A topic has another number of partitions than its readers need." "Leave `partitions` out: it follows from the tasks of the unit that reads the topic.";
    TOPIC_SETTING_UNKNOWN = "TM0603" Warning "Kafka has no topic setting of this name." "Take the spelling the hint suggests; the broker would refuse the topic.";
    TOPIC_SETTING_MISPLACED = "TM0604" Error "A topic setting has a key of its own." "Use `cleanup` and `retention_days` in place of Kafka's names for them, so that there is one place to look.";
    CLEANUP = "TM0605" Error "The ways in which a topic would be cleaned up contradict one another." "Compacted topics keep the latest record of every key and have no retention; reference tables are always compacted.";
    KEY_SPACE_UNKNOWN = "TM0606" Error "No event or store has a key of this name." "Take the spelling the hint suggests.";
    TOPIC_ROLES = "TM0607" Error "A topic is a reference table and something else as well." "Keep reference tables in topics of their own.";

    SINK_UNKNOWN = "TM0701" Error "There is no sink of this kind." "Take the spelling the hint suggests.";
    SINK_SETTINGS = "TM0702" Error "A sink refuses its settings." "Mend the setting that is named.";
    SINK_TOPIC_UNKNOWN = "TM0703" Error "A sink reads a topic that the pipeline does not have." "Take the spelling the hint suggests; `*` stands for any characters.";
    SINK_KIND = "TM0704" Error "A sink can make nothing of the events in one of its topics." "Remove the topic from the sink.";
    SINK_IDLE = "TM0705" Warning "A sink reads no events that it can write." "Add a topic with one of the kinds it consumes.";

    BROKER_UNKNOWN = "TM0801" Error "There is no broker of this kind." "Take `embedded` or `kafka`.";
    BROKER_INCOMPLETE = "TM0802" Error "Something that this broker needs is not stated." "Add the key that is named.";
    PROPERTY_RESERVED = "TM0803" Error "A client property belongs to the engine." "Remove it: exactly-once processing rests on the value the engine gives it.";
}

/// The entry of `code`, such as `TM0102`.
pub fn find(code: &str) -> Option<&'static Code> {
    ALL.iter().find(|known| known.code.eq_ignore_ascii_case(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_so_none_is_used_twice() {
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert_eq!(find("tm0101"), Some(&SYNTAX));
    }
}
