//! What `orrery simulate` is given in files.

use anyhow::{Context as _, Result, anyhow};
use orrery_audit::whatif::{AgentSpec, GivenEvent};
use orrery_model::id::{AgentId, JobName};
use orrery_model::job::Span;
use orrery_model::messages::Attribute;
use orrery_model::resources::{Bytes, MilliCpus, Resources};
use orrery_model::time::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// One agent of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentLine {
    agent: AgentId,
    cpus: MilliCpus,
    memory: Bytes,
    #[serde(default)]
    disk: Bytes,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    cell: i32,
}

/// One event of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine {
    at: Timestamp,
    topic: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    data: serde_json::Value,
}

/// Agents: a list, as YAML, of which JSON is a part.
pub(super) fn agents(path: &Path) -> Result<Vec<AgentSpec>> {
    let lines: Vec<AgentLine> = serde_saphyr::from_str(&read(path)?).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let agent = |AgentLine { agent, cpus, memory, disk, attributes, cell }| {
        let attributes = attributes.into_iter().map(|(name, value)| Attribute { name, value }).collect();
        AgentSpec { agent, cell, total: Resources { cpus, memory, disk }, attributes }
    };
    Ok(lines.into_iter().map(agent).collect())
}

/// Durations by job, milliseconds.
pub(super) fn durations(path: &Path) -> Result<BTreeMap<JobName, i64>> {
    let spans: BTreeMap<String, Span> = serde_saphyr::from_str(&read(path)?).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let job = |(name, span): (String, Span)| {
        let name = JobName::with_default_namespace(&name).with_context(|| path.display().to_string())?;
        Ok((name, span.0))
    };
    spans.into_iter().map(job).collect()
}

/// Events: one JSON object a line.
pub(super) fn events(path: &Path) -> Result<Vec<GivenEvent>> {
    let text = read(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let event = |(number, line): (usize, &str)| {
        let EventLine { at, topic, key, data } =
            serde_json::from_str(line).map_err(|error| anyhow!("{} line {}: {error}", path.display(), number + 1))?;
        Ok(GivenEvent { at, topic, key, data })
    };
    lines.map(event).collect()
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}
