//! Many jobs with schedules: how fast they are defined one after another, and the memory that they take.

use crate::Result;
use crate::clock::{monotonic_ns, seconds_since};
use crate::home::Home;
use crate::metric::{Metric, metric};
use crate::process::rss_mib;
use crate::suite::Context;
use serde_json::json;

/// Their times are spread over the minutes of the day.
pub(crate) fn many(context: &mut Context) -> Result<Vec<Metric>> {
    let count = context.sizes.jobs;
    let home = Home::start()?;
    let command = ["/bin/true".to_owned()];
    let began = monotonic_ns();
    for n in 0..count {
        let cron = format!("{} {} * * *", n % 60, n / 60 % 24);
        home.define(&format!("nightly-{n}"), &json!({"cron": cron}), &command)?;
    }
    let rate = count as f64 / seconds_since(began);
    Ok(vec![metric("jobs10k_rss_mib", rss_mib(home.pid()?)?, "MiB"), metric("jobs10k_post_per_s", rate, "1/s")])
}
