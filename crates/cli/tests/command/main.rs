//! The `tidemill` command as a person or a script runs it: the built program, its output and its exit codes.

mod codes;
mod dead_letters;
mod demo;
mod docs;
mod exit_codes;
mod fee;
mod http;
mod kafka;
mod kafka_bad_day;
mod kafka_dependencies;
mod kafka_groups;
mod kafka_limits;
mod kafka_operator;
mod kafka_standby;
mod kafka_succession;
mod kafka_transactions;
mod limits;
mod parked;
mod reconcile;
mod records;
mod sql;
mod statement;
mod tidemill;
mod topology;
mod verify;
