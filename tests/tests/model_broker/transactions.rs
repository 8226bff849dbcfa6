//! Transactions, as far as the suite for brokers cannot see them.

use std::time::Duration;

use tidemill_runtime::broker::TransactionProtocol;
use tidemill_tests::model::{Markers, ModelOptions};

use crate::script::check;

fn manual() -> ModelOptions {
    ModelOptions { markers: Markers::Manual, ..ModelOptions::default() }
}

fn second() -> ModelOptions {
    ModelOptions { protocol: TransactionProtocol::Second, ..ModelOptions::default() }
}

#[test]
fn markers_are_written_one_by_one() {
    check(
        manual(),
        "
step             | answer    | out 0     | out 1  | position
open a           | ok        | 0/0       | 0/0    | -
begin a          | ok
send a 0 x       | ok
send a 1 y       | ok
flush a          | ok        | 0/1       | 0/1
offsets a 7      | ok        |           |        | ?
commit a         | ok
settle 1         | ok        |           | y 2/2
begin a          | ok
send a 0 z       | ok
flush a          | Retriable
settle offsets   | ok        |           |        | 7
flush a          | Retriable
open a as b      | Retriable
settle 0         | ok        | x 2/2
flush a          | ok        | x 2/3
abort a          | ok
settle 0         | ok        | x 4/4
open a as b      | ok
flush a          | ok
begin a          | ok
send a 0 zombie  | ok
flush a          | Fenced
commit a         | Fenced",
    );
}

#[test]
fn an_open_transaction_holds_back_what_others_commit() {
    check(
        ModelOptions::default(),
        "
step         | answer | out 0     | out 1 | position
open a       | ok     | 0/0       | 0/0   | -
open b       | ok
begin a      | ok
send a 0 a0  | ok
flush a      | ok     | 0/1
begin b      | ok
send b 0 b0  | ok
flush b      | ok     | 0/2
commit b     | ok     | 0/3
send a 0 a1  | ok
flush a      | ok     | 0/4
commit a     | ok     | a0 b0 a1 5/5",
    );
}

#[test]
fn a_transaction_that_times_out_fences_its_producer() {
    check(
        manual(),
        "
step          | answer    | out 0 | out 1 | position
open a        | ok        | 0/0   | 0/0   | -
begin a       | ok
send a 0 x    | ok
flush a       | ok        | 0/1
offsets a 7   | ok        |       |       | ?
pass 9        | ok
send a 0 y    | ok
flush a       | ok        | 0/2
pass 1        | ok
commit a      | Fenced
begin a       | Fenced
open a        | Retriable
settle 0      | ok        | 3/3
settle offsets | ok       |       |       | -
open a        | ok
begin a       | ok",
    );
}

#[test]
fn time_outs_are_noticed_at_the_next_sweep() {
    check(
        ModelOptions { timeout_sweep: Duration::from_secs(10), ..ModelOptions::default() },
        "
step          | answer    | out 0 | out 1 | position
open a        | ok        | 0/0   | 0/0   | -
pass 3        | ok
begin a       | ok
send a 0 x    | ok
flush a       | ok        | 0/1
pass 16       | ok
pass 1        | ok        | 2/2
commit a      | Fenced",
    );
}

#[test]
fn settling_a_dead_owner_lets_the_stable_end_reach_the_end() {
    check(
        ModelOptions::default(),
        "
step          | answer | out 0   | out 1   | position
open a        | ok     | 0/0     | 0/0     | -
begin a       | ok
send a 0 x    | ok
send a 1 y    | ok
flush a       | ok     | 0/1     | 0/1
offsets a 3   | ok     |         |         | ?
kill a        | ok
open a as b   | ok     | 2/2     | 2/2     | -
begin b       | ok
send b 0 z    | ok
flush b       | ok     | 2/3
commit b      | ok     | z 4/4",
    );
}

#[test]
fn settling_completes_what_was_decided() {
    check(
        manual(),
        "
step          | answer    | out 0   | out 1   | position
open a        | ok        | 0/0     | 0/0     | -
begin a       | ok
send a 0 x    | ok
flush a       | ok        | 0/1
commit a      | ok
kill a        | ok
open a        | Retriable
settle 0      | ok        | x 2/2
open a        | ok",
    );
}

/// Nothing was flushed, so nobody but the client knows of it.
#[test]
fn a_transaction_without_a_trace_ends_without_the_broker() {
    check(
        manual(),
        "
step          | answer    | out 0   | out 1   | position
open a        | ok        | 0/0     | 0/0     | -
begin a       | ok
commit a      | ok
begin a       | ok
send a 0 x    | ok
abort a       | ok
begin a       | ok
begin a       | Fatal
send a 0 y    | ok
flush a       | ok        | 0/1
kill a        | ok
open a as b   | Retriable
pass 30       | ok
settle 0      | ok        | 2/2
open a as b   | ok",
    );
}

#[test]
fn a_commit_that_comes_late_hits_the_next_transaction() {
    check(
        ModelOptions::default(),
        "
step         | answer    | out 0   | out 1 | position
open a       | ok        | 0/0     | 0/0   | -
hold a       | ok
begin a      | ok
send a 0 x   | ok
flush a      | ok        | 0/1
commit a     | Retriable
abort a      | Fatal
commit a     | ok        | x 2/2
begin a      | ok
send a 0 y   | ok
flush a      | ok        | x 2/3
deliver      | Ended     | x y 4/4
send a 1 z   | ok
flush a      | ok        |         | 0/1
commit a     | ok        |         | z 2/2",
    );
}

#[test]
fn a_late_end_does_nothing_once_the_epoch_is_raised() {
    check(
        ModelOptions::default(),
        "
step         | answer                     | out 0  | out 1 | position
open a       | ok                         | 0/0    | 0/0   | -
hold a       | ok
begin a      | ok
send a 0 x   | ok
flush a      | ok                         | 0/1
commit a     | Retriable
kill a       | ok
open a as b  | ok                         | 2/2
begin b      | ok
send b 0 y   | ok
flush b      | ok                         | 2/3
deliver      | Refused(ProducerFenced)
abort b      | ok                         | 4/4",
    );
}

#[test]
fn with_an_epoch_for_every_transaction_a_late_or_doubled_end_does_nothing() {
    check(
        second(),
        "
step         | answer                     | out 0    | out 1 | position
open a       | ok                         | 0/0      | 0/0   | -
hold a       | ok
begin a      | ok
send a 0 x   | ok
flush a      | ok                         | 0/1
commit a     | Retriable
commit a     | ok                         | x 2/2
begin a      | ok
send a 0 y   | ok
flush a      | ok                         | x 2/3
deliver      | Refused(ProducerFenced)
double a     | ok
commit a     | ok                         | x y 4/4
deliver      | AlreadyEnded
lose a       | ok
begin a      | ok
send a 0 z   | ok
flush a      | ok                         | x y 4/5
abort a      | Retriable                  | x y 6/6
abort a      | ok
open a as b  | ok
begin a      | ok
send a 0 w   | ok
flush a      | Fenced",
    );
}

#[test]
fn with_an_epoch_for_every_transaction_one_that_was_cut_off_can_be_aborted_unseen() {
    check(
        second(),
        "
step         | answer    | out 0    | out 1 | position
open a       | ok        | 0/0      | 0/0   | -
begin a      | ok
send a 0 x   | ok
flush a      | ok        | 0/1
commit a     | ok        | x 2/2
last a       | Ended(Commit)
begin a      | ok
restart      | ok
send a 0 y   | ok
flush a      | Abortable
last a       | Ended(Commit)
abort a      | ok
last a       | Ended(Abort)
begin a      | ok
send a 0 z   | ok
flush a      | ok        | x 2/3
commit a     | ok        | x z 4/4",
    );
}

#[test]
fn an_answer_may_be_lost_and_a_request_doubled() {
    check(
        manual(),
        "
step         | answer                     | out 0    | out 1 | position
open a       | ok                         | 0/0      | 0/0   | -
lose a       | ok
begin a      | ok
send a 0 x   | ok
flush a      | ok                         | 0/1
commit a     | Retriable
commit a     | Retriable
settle 0     | ok                         | x 2/2
commit a     | ok
double a     | ok
begin a      | ok
send a 0 y   | ok
flush a      | ok                         | x 2/3
commit a     | ok
settle 0     | ok                         | x y 4/4
deliver      | AlreadyEnded
double a     | ok
begin a      | ok
send a 0 z   | ok
flush a      | ok                         | x y 4/5
abort a      | ok
settle 0     | ok                         | x y 6/6
begin a      | ok
send a 0 w   | ok
flush a      | ok                         | x y 6/7
deliver      | Ended
commit a     | Fatal
settle 0     | ok                         | x y 8/8",
    );
}

#[test]
fn a_hanging_transaction_blocks_until_it_is_aborted_everywhere() {
    check(
        ModelOptions::default(),
        "
step              | answer    | out 0   | out 1   | position
open a            | ok        | 0/0     | 0/0     | -
hang a everywhere | ok
begin a           | ok
send a 0 x        | ok
send a 1 y        | ok
flush a           | ok        | 0/1     | 0/1
offsets a 7       | ok        |         |         | ?
hanging           | 0
commit a          | ok
hanging           | 3
begin a           | ok
send a 0 z        | ok
flush a           | Abortable
abort a           | Fatal
open a as b       | ok
pass 100          | ok
hanging           | 3
abort-hanging     | 3         | 2/2     | 2/2     | -
hanging           | 0
begin b           | ok
send b 0 x        | ok
flush b           | ok        | 2/3
commit b          | ok        | x 4/4",
    );
}

#[test]
fn a_hanging_transaction_may_have_moved_the_positions() {
    check(
        ModelOptions::default(),
        "
step              | answer    | out 0   | out 1   | position
open a            | ok        | 0/0     | 0/0     | -
hang a logs       | ok
begin a           | ok
send a 0 x        | ok
flush a           | ok        | 0/1
offsets a 7       | ok        |         |         | ?
commit a          | ok        |         |         | 7
hanging           | 1
abort-hanging     | 1         | 2/2",
    );
}

#[test]
fn committed_positions_can_be_forgotten_and_rewound() {
    check(
        ModelOptions::default(),
        "
step         | answer | out 0 | out 1 | position
open a       | ok     | 0/0   | 0/0   | -
begin a      | ok
offsets a 7  | ok     |       |       | ?
commit a     | ok     |       |       | 7
rewind 4     | ok     |       |       | 3
forget       | ok     |       |       | -
begin a      | ok
offsets a 9  | ok     |       |       | ?
forget       | ok
commit a     | ok     |       |       | 9",
    );
}
