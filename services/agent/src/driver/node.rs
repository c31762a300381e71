//! What this node offers and how it is described.

use super::AgentConfig;
use crate::core::Node;
use crate::host;
use orrery_model::messages::Attribute;
use orrery_model::resources::{Bytes, MilliCpus, Resources};
use std::collections::BTreeMap;
use std::path::Path;

/// Memory that tasks may not have, in percent: for the kernel, the agent and its supervisor.
const MEMORY_RESERVE_PERCENT: i64 = 10;

/// Resources and attributes of this node, with what the configuration says instead.
pub(super) fn describe(dir: &Path, config: &AgentConfig) -> Node {
    let cpus = std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1));
    let found = || Resources { cpus: MilliCpus(cpus * 1000), memory: Bytes(memory_bytes()), disk: Bytes(disk_bytes(dir)) };
    let mut attributes: BTreeMap<String, String> = [
        ("hostname", host::name()),
        ("os", std::env::consts::OS.to_owned()),
        ("arch", std::env::consts::ARCH.to_owned()),
        ("cpus", cpus.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    attributes.extend(config.attributes.iter().map(|attribute| (attribute.name.clone(), attribute.value.clone())));
    let attributes = attributes.into_iter().map(|(name, value)| Attribute { name, value }).collect();
    Node { total: config.resources.unwrap_or_else(found), attributes }
}

/// MemTotal less the reserve; 0 where it cannot be read, so that nothing is promised.
fn memory_bytes() -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: i64 = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0);
    kib * 1024 / 100 * (100 - MEMORY_RESERVE_PERCENT)
}

/// What a process without privileges may still write below this folder.
fn disk_bytes(dir: &Path) -> i64 {
    let free = rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    i64::try_from(free).unwrap_or(i64::MAX)
}
