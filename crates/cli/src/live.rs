//! What a running process on this machine says of itself.

use std::time::Duration;

use tidemill_runtime::health::ProcessView;

/// It answers from memory, so one that takes longer is not well.
const DEADLINE: Duration = Duration::from_secs(2);

/// The process that serves at `address`; `None` if none answers there.
pub(crate) fn process_at(address: &str) -> Option<ProcessView> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(DEADLINE).build().ok()?;
        let answer = client.get(format!("http://{address}/readyz")).send().await.ok()?;
        answer.json().await.ok()
    })
}
