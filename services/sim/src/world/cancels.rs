//! Cancels: somebody ends the newest runs, wherever their tasks are just then.

use super::World;
use orrery_log::{Log, TopicPartition};
use orrery_model::messages::{RUN, RunRecord};
use orrery_model::topics;
use serde_json::json;

/// Runs that one such person ends, of each trigger shard.
const AT_ONCE: usize = 2;
/// Records of `runs` among which the newest are looked for.
const LOOKED_AT: i64 = 40;

impl World {
    pub(super) fn cancel_newest(&mut self) {
        for shard in 0..self.plan.trigger_shards {
            for run in self.newest_runs(shard) {
                let job = run.job.to_string();
                let value = json!({"request": {"cancel_run": {"run": run.run.to_string()}}});
                let record = self.inbox(topics::REQUESTS, &job, Some(&value));
                // What the log does not take was asked by nobody.
                let _refused = self.log.append(vec![record]);
            }
        }
    }

    /// Runs that go on, by what the log has last.
    fn newest_runs(&self, shard: u32) -> Vec<RunRecord> {
        let at = TopicPartition::new(&self.cluster.topic(topics::RUNS), shard);
        let (start, end) = (self.log.start_offset(&at).unwrap_or(0), self.log.end_offset(&at).unwrap_or(0));
        let fetch = self.log.read(&at, start.max(end - LOOKED_AT), usize::MAX).unwrap_or_default();
        let runs = fetch.records.iter().rev().filter_map(|record| RUN.decode(record.value.as_ref()?.as_bytes()).ok());
        let mut newest: Vec<RunRecord> = Vec::new();
        for run in runs {
            let known = newest.iter().any(|newer| newer.run == run.run);
            if !known && newest.len() < AT_ONCE && !run.state.is_final() {
                newest.push(run);
            }
        }
        newest
    }
}
