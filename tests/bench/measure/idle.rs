//! Memory of a standalone that has nothing to do, and of its supervisor.

use crate::Result;
use crate::clock::SECOND;
use crate::home::Home;
use crate::metric::{Metric, metric};
use crate::process::{rss_mib, supervisor_of};
use crate::stamp::Stamps;
use crate::suite::Context;

/// What starting takes for a moment is given back by then.
const SETTLED_AFTER: i64 = 3 * SECOND;

/// Of a fresh one.
pub(crate) fn memory(_: &mut Context) -> Result<Vec<Metric>> {
    let home = Home::start()?;
    Stamps::new()?.pause(SETTLED_AFTER)?;
    let supervisor = rss_mib(supervisor_of(home.folder())?)?;
    Ok(vec![metric("idle_rss_mib", rss_mib(home.pid()?)?, "MiB"), metric("supervisor_rss_mib", supervisor, "MiB")])
}
