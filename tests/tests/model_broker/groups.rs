//! Membership, as far as the suite for brokers cannot see it.

use tidemill_tests::model::ModelOptions;

use crate::script::check;

/// The membership is asked when the offsets are sent, and never again.
#[test]
fn a_commit_after_the_member_was_removed_succeeds() {
    check(
        ModelOptions::default(),
        "
step           | answer             | out 0   | out 1 | position
open a         | ok                 | 0/0     | 0/0   | -
join a         | ok
poll a         | Assigned([0, 1])
follow a       | ok
begin a        | ok
send a 0 x     | ok
flush a        | ok                 | 0/1
offsets a 7 a  | ok                 |         |       | ?
expire a       | true
commit a       | ok                 | x 2/2   |       | 7
begin a        | ok
send a 0 y     | ok
flush a        | ok                 | x 2/3
offsets a 8 a  | Abortable
commit a       | Abortable
abort a        | ok                 | x 4/4
poll a         | Lost([0, 1])
follow a       | ok
poll a         | Assigned([0, 1])",
    );
}

#[test]
fn a_generation_that_is_past_is_refused() {
    check(
        ModelOptions::default(),
        "
step           | answer             | out 0   | out 1 | position
open a         | ok                 | 0/0     | 0/0   | -
open b         | ok
join b         | ok
join a         | ok
poll b         | Assigned([0, 1])
begin b        | ok
offsets b 1 b  | ok                 |         |       | ?
commit b       | ok                 |         |       | 1
follow b       | ok
poll b         | Revoked([1])
begin b        | ok
offsets b 2 b  | ok                 |         |       | ?
commit b       | ok                 |         |       | 2
poll a         | nothing
follow b       | ok
poll a         | Assigned([1])
begin a        | ok
offsets a 3 a  | ok                 |         |       | ?
commit a       | ok                 |         |       | 3
begin b        | ok
offsets b 4 b  | Abortable
abort b        | ok
poll b         | nothing
begin b        | ok
offsets b 4 b  | ok                 |         |       | ?
commit b       | ok                 |         |       | 4",
    );
}

#[test]
fn a_killed_member_keeps_its_tasks_until_its_session_times_out() {
    check(
        ModelOptions::default(),
        "
step      | answer           | out 0 | out 1 | position
join a    | ok               | 0/0   | 0/0   | -
poll a    | Assigned([0, 1])
follow a  | ok
kill a    | ok
join b    | ok
pass 20   | ok
poll b    | nothing
owners    | 0:a 1:a
pass 1    | ok
poll b    | Assigned([0, 1])
owners    | 0:b 1:b",
    );
}

#[test]
fn a_slot_that_restarts_takes_its_tasks_over_at_once() {
    check(
        ModelOptions::default(),
        "
step           | answer           | out 0 | out 1 | position
open a         | ok               | 0/0   | 0/0   | -
join a         | ok
poll a         | Assigned([0, 1])
follow a       | ok
join b         | ok
poll a         | Revoked([1])
follow a       | ok
poll b         | Assigned([1])
poll a         | nothing
follow b       | ok
join a as new  | ok
poll new       | Assigned([0])
follow new     | ok
poll b         | nothing
begin a        | ok
offsets a 1 a  | Abortable
abort a        | ok
poll a         | MemberLost
begin a        | ok
offsets a 1 a  | MemberLost
abort a        | ok
begin a        | ok
offsets a 1 new | ok              |       |       | ?
commit a       | ok               |       |       | 1",
    );
}

/// It dies between the revocation and its acknowledgement: the revoked task must not be lost on the way.
#[test]
fn a_slot_that_restarts_in_a_rebalance_leaves_no_task_without_owner() {
    check(
        ModelOptions::default(),
        "
step           | answer           | out 0 | out 1 | position
join a         | ok               | 0/0   | 0/0   | -
poll a         | Assigned([0, 1])
follow a       | ok
join b         | ok
poll a         | Revoked([1])
kill a         | ok
join a         | ok
poll a         | nothing
poll b         | Assigned([1])
poll a         | Assigned([0])",
    );
}

#[test]
fn a_member_may_be_fenced_by_nobody() {
    check(
        ModelOptions::default(),
        "
step           | answer           | out 0 | out 1 | position
open a         | ok               | 0/0   | 0/0   | -
join a         | ok
poll a         | Assigned([0, 1])
follow a       | ok
fence a        | true
owners         | 0:a 1:a
begin a        | ok
offsets a 1 a  | Abortable
abort a        | ok
poll a         | MemberLost
join a as new  | ok
poll new       | Assigned([0, 1])
follow new     | ok
fence a        | true
kill new       | ok
join b         | ok
pass 21        | ok
poll b         | Assigned([0, 1])",
    );
}

/// What nobody has told the member yet is not its own.
#[test]
fn a_member_without_a_task_commits_nothing() {
    check(
        ModelOptions::default(),
        "
step           | answer           | out 0 | out 1 | position
open a         | ok               | 0/0   | 0/0   | -
join a         | ok
begin a        | ok
offsets a 1 a  | Abortable
abort a        | ok",
    );
}
