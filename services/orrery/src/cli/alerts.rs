//! `orrery cluster alerts`: what people should know of, from the topic `alerts`.

use super::Context;
use super::output::{self, column, text, wide};
use anyhow::{Result, anyhow};
use clap::Args;
use orrery_log::{Log, TopicPartition, pieces};
use orrery_model::id::JobName;
use orrery_model::messages::{ALERT, Alert};
use orrery_model::record::Record;
use orrery_model::time::Timestamp;
use orrery_model::topics;
use orrery_runtime::messages::Cluster;
use serde_json::{Value, json};
use std::collections::VecDeque;

#[derive(Args)]
pub(crate) struct Alerts {
    /// Only alerts at or after this time (RFC 3339); they are kept for thirty days
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    since: Option<Timestamp>,
    /// Only alerts of this job
    #[arg(long)]
    job: Option<String>,
    /// Only alerts with this code (run_failed, diverged)
    #[arg(long)]
    code: Option<String>,
    /// At most so many, the last ones
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

impl Alerts {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let (log, cluster) = super::audit::open(context)?;
        let items = self.read(&*log, &cluster)?;
        output::list(
            context.format,
            &json!({ "items": items }),
            &[
                column("AT", |alert| text(&alert["at"])),
                column("CODE", |alert| text(&alert["code"])),
                column("ABOUT", |alert| text(&alert["about"])),
                column("DETAIL", |alert| text(&alert["detail"])),
                wide("RUN", |alert| text(&alert["run"])),
            ],
        );
        Ok(())
    }

    /// The last that are wanted, oldest first.
    fn read(self, log: &dyn Log, cluster: &Cluster) -> Result<VecDeque<Value>> {
        let job = self.job.as_deref().map(JobName::with_default_namespace).transpose()?;
        let at = TopicPartition::new(&cluster.topic(topics::ALERTS), 0);
        let mut found = VecDeque::new();
        if log.topic(&at.topic)?.is_none() {
            return Ok(found);
        }
        for piece in pieces(log, &at, log.start_offset(&at)?, log.end_offset(&at)?) {
            for record in piece? {
                let Some(value) = &record.value else { continue };
                let alert = ALERT.decode(value.as_bytes()).map_err(|why| anyhow!("{}/0/{} is no alert: {why}", at.topic, record.offset))?;
                let is_wanted = self.since.is_none_or(|since| alert.at >= since)
                    && job.as_ref().is_none_or(|job| alert.job.as_ref() == Some(job))
                    && self.code.as_ref().is_none_or(|code| alert.code == *code);
                if is_wanted {
                    found.push_back(shown(&record, &alert)?);
                    found.drain(..found.len().saturating_sub(self.limit as usize));
                }
            }
        }
        Ok(found)
    }
}

/// With what it is about: a job, a shard, or a member.
fn shown(record: &Record, alert: &Alert) -> Result<Value> {
    let mut shown = serde_json::to_value(alert)?;
    shown["about"] = record.key.as_ref().and_then(|key| key.text()).unwrap_or_default().into();
    Ok(shown)
}
