//! Read models whose database has lost what it was told.

use std::time::{Duration, Instant};

use crate::sql::sqlite;
use crate::tidemill::Tidemill;

const ACCOUNTS: &str = r#"{"id":"o-1","source":"bank","type":"open","account":"cash","currency":"EUR","kind":"external","created_at":"2026-01-31T08:00:00Z"}
{"id":"o-2","source":"bank","type":"open","account":"alice","currency":"EUR","created_at":"2026-01-31T08:00:00Z"}
"#;
const COUNT: &str = "SELECT CAST(count(*) AS text) FROM account_balances";
const DEADLINE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);

/// As after a restore, or a kill of a database that had not written everything to its disk.
#[test]
fn what_a_database_has_lost_is_written_again_although_nothing_new_comes() {
    let tidemill = Tidemill::new();
    tidemill.feed("produce accounts.requested.v1 --key account", ACCOUNTS.as_bytes()).text();
    let running = tidemill.start("run");
    let file = tidemill.folder().join("data/read-model.sqlite");
    let wait_for_both = || {
        let started_at = Instant::now();
        while !file.exists() || sqlite(&file, COUNT) != ["2"] {
            assert!(started_at.elapsed() < DEADLINE, "both balances are in the read model");
            std::thread::sleep(TICK);
        }
    };
    wait_for_both();
    sqlite(&file, "DELETE FROM account_balances RETURNING account_id");
    sqlite(&file, "UPDATE read_model_offsets SET next_offset = 0 WHERE topic = 'ledger.balances.v1' RETURNING topic");
    wait_for_both();
    running.signal("TERM");
    assert_eq!(running.ended().code, Some(0));
}
