//! How long a standalone with a past takes to be ready after kill -9.

use super::round;
use crate::Result;
use crate::clock::{monotonic_ns, seconds_since};
use crate::metric::{Metric, metric};
use crate::stamp::Stamps;
use crate::suite::Context;
use serde_json::json;

/// Topic of the runs that no agent can take.
const TOPIC: &str = "bench-waiting";

/// After all rounds of runs, and with runs that wait; nothing of either may be missing afterwards.
pub(crate) fn after_many_runs(context: &mut Context) -> Result<Vec<Metric>> {
    let sizes = context.sizes;
    let mut home = context.finished.take().ok_or("there is no folder: the first round has failed")?;
    home.resume();
    for n in 2..=sizes.rounds {
        round::once(&home, sizes.round, sizes.round * n)?;
    }
    let resources = json!({"cpus": 1000, "memory": "1MiB"});
    let triggers = json!([{"event": TOPIC}]);
    home.define_as(
        &json!({"name": "never", "triggers": triggers, "command": ["/bin/true"], "concurrency": "allow", "resources": resources}),
    )?;
    home.events(TOPIC, sizes.waiting)?;
    home.wait_for_count("waiting", sizes.waiting, &Stamps::new()?)?;
    home.kill();
    let began = monotonic_ns();
    home.resume();
    let seconds = seconds_since(began);
    let (finished, waiting) = (home.count("succeeded")?, home.count("waiting")?);
    if (finished, waiting) != (sizes.round * sizes.rounds, sizes.waiting) {
        return Err(format!("after the restart {finished} runs have succeeded and {waiting} wait"));
    }
    Ok(vec![metric("restart_s", seconds, "s")])
}
