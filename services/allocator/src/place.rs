//! Which agent a task is given, and why it is given none. Integers only, and the same answer for the same rows.

use crate::policy::Placement;
use crate::rows::{AgentRow, TaskRow};
use orrery_model::id::AgentId;
use orrery_model::job::Constraint;
use orrery_model::messages::{Attribute, Reason, TaskSpec, UNABLE};
use orrery_model::planted::{Bug, planted};
use orrery_model::resources::{Bytes, MilliCpus, Resources};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// No agent is there.
pub const NO_AGENTS: &str = "NO_AGENTS";
/// No agent that is there could run it, even when empty.
pub const NEVER_FITS: &str = "NEVER_FITS";
/// Of the agents that can start anything at present none could run it; others say why they cannot.
pub const AGENT_UNABLE: &str = "AGENT_UNABLE";
/// Agents do not satisfy a constraint.
pub const FILTERED_CONSTRAINT: &str = "FILTERED_CONSTRAINT";
/// Agents have too little CPU free.
pub const INSUFFICIENT_CPUS: &str = "INSUFFICIENT_CPUS";
/// Agents have too little memory free.
pub const INSUFFICIENT_MEMORY: &str = "INSUFFICIENT_MEMORY";
/// Agents have too little disk free.
pub const INSUFFICIENT_DISK: &str = "INSUFFICIENT_DISK";

/// Reasons given at most, those of the most agents first: they are kept with every waiting task.
const REASONS_MAX: usize = 6;

/// An agent that may be given tasks.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Who.
    pub agent: &'a AgentId,
    /// All that it may give.
    pub total: Resources,
    /// What its tasks use.
    pub used: Resources,
    /// What constraints are matched against.
    pub attributes: &'a [Attribute],
}

impl Candidate<'_> {
    /// What it has left; below zero where it has shrunk.
    pub fn free(&self) -> Resources {
        self.total.minus(&self.used)
    }
}

/// The agents that may be given tasks, for readers of the changelog; the allocator keeps an index instead.
pub fn candidates<'a>(
    agents: impl Iterator<Item = (&'a AgentId, &'a AgentRow)>,
    tasks: impl Iterator<Item = &'a TaskRow>,
) -> Vec<Candidate<'a>> {
    let mut used: BTreeMap<&AgentId, Resources> = BTreeMap::new();
    for (place, task) in tasks.filter_map(|task| Some((task.place.as_ref()?, task))) {
        let sum = used.entry(&place.agent).or_default();
        *sum = sum.plus(&task.spec.resources);
    }
    let candidate = |(agent, row): (&'a AgentId, &'a AgentRow)| Candidate {
        agent,
        total: row.total,
        used: used.get(agent).copied().unwrap_or_default(),
        attributes: &row.attributes,
    };
    agents.filter(|(_, row)| row.lost.is_none()).map(candidate).collect()
}

/// What a task asks of its agent, read once.
#[derive(Debug, Clone)]
pub struct Needs {
    resources: Resources,
    /// As written, and as read. A text that cannot be read is satisfied by nobody: better to wait than to run where it must not.
    constraints: Vec<(String, Option<Constraint>)>,
}

impl Needs {
    /// Reads them.
    pub fn new(resources: Resources, constraints: &[String]) -> Self {
        let constraints = constraints.iter().map(|text| (text.clone(), Constraint::parse(text).ok())).collect();
        Self { resources, constraints }
    }

    /// Reads those of a task.
    pub fn of(task: &TaskSpec) -> Self {
        Self::new(task.resources, &task.constraints)
    }

    /// The first constraint that these attributes do not satisfy.
    pub fn unmet(&self, attributes: &[Attribute]) -> Option<&str> {
        let met = |constraint: &Option<Constraint>| constraint.as_ref().is_some_and(|constraint| constraint.matches(attributes));
        self.constraints.iter().find(|(_, constraint)| !met(constraint)).map(|(text, _)| text.as_str())
    }
}

/// What an agent has left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room<'a> {
    pub agent: &'a AgentId,
    pub total: Resources,
    pub free: Resources,
}

/// What is asked of the agent to be found.
pub(crate) struct Wish<'a> {
    pub need: Resources,
    /// Taken only if no other one fits.
    pub avoid: Option<&'a AgentId>,
    /// Which of those that it fits on.
    pub placement: Placement,
    /// Most CPUs that any agent has, if the fullest is wanted and the rooms come by ascending free CPUs: the search ends where only
    /// worse ones can follow.
    pub widest: Option<i64>,
}

/// The agent that the placement prefers of those with room, then the one with the smallest id.
pub(crate) fn preferred<'a>(
    rooms: impl Iterator<Item = Room<'a>>,
    wish: &Wish<'_>,
    suits: impl Fn(&AgentId) -> bool,
) -> Option<&'a AgentId> {
    let mut best: Option<(bool, Share, &AgentId)> = None;
    for room in rooms {
        let left = room.free.minus(&wish.need);
        if let (Some((false, share, _)), Some(whole @ 1..)) = (&best, wish.widest)
            && (Share { part: left.cpus.0, whole }) > *share
        {
            break;
        }
        if DIMENSIONS.iter().any(|dimension| (dimension.of)(&left) < 0) && !planted(Bug::Overcommit) {
            continue;
        }
        let rank = (Some(room.agent) == wish.avoid, cost(wish.placement, &left, &room.total), room.agent);
        // Attributes are looked at last: it takes longest.
        if best.as_ref().is_none_or(|best| rank < *best) && suits(room.agent) {
            best = Some(rank);
        }
    }
    best.map(|(.., agent)| agent)
}

/// What the placement wants to be small, given what is left of an agent.
fn cost(placement: Placement, left: &Resources, total: &Resources) -> Share {
    match placement {
        Placement::BestFit => Share::dominant(left, total),
        Placement::WorstFit => {
            let Share { part, whole } = Share::dominant(left, total);
            Share { part: -part, whole }
        }
        Placement::FirstFit => Share { part: 0, whole: 1 },
    }
}

/// A part of a whole that is not 0, compared without rounding.
#[derive(Debug, Clone, Copy)]
struct Share {
    part: i64,
    whole: i64,
}

impl Share {
    /// The largest share over all resources that there are any of.
    fn dominant(part: &Resources, whole: &Resources) -> Self {
        let shares = DIMENSIONS.map(|dimension| Self { part: (dimension.of)(part), whole: (dimension.of)(whole) });
        shares.into_iter().filter(|share| share.whole > 0).max().unwrap_or(Self { part: 0, whole: 1 })
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        let cross = |a: i64, b: i64| i128::from(a) * i128::from(b);
        cross(self.part, other.whole).cmp(&cross(other.part, self.whole))
    }
}
impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Share {}
impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One kind of resource.
struct Dimension {
    code: &'static str,
    name: &'static str,
    of: fn(&Resources) -> i64,
    show: fn(i64) -> String,
}

const DIMENSIONS: [Dimension; 3] = [
    Dimension { code: INSUFFICIENT_CPUS, name: "cpus", of: |r| r.cpus.0, show: |n| MilliCpus(n).to_string() },
    Dimension { code: INSUFFICIENT_MEMORY, name: "memory", of: |r| r.memory.0, show: |n| Bytes(n).to_string() },
    Dimension { code: INSUFFICIENT_DISK, name: "disk", of: |r| r.disk.0, show: |n| Bytes(n).to_string() },
];

/// Why none of these agents is given the task now: counted over agents, what keeps out most of them first; an agent that is
/// short of two resources counts twice. Empty if one fits.
pub fn reasons(agents: &[Candidate<'_>], task: &TaskSpec) -> Vec<Reason> {
    if agents.is_empty() {
        return vec![Reason { code: NO_AGENTS.into(), detail: "no agent has joined this cell, or all are lost".into(), agents: 0 }];
    }
    let needs = Needs::of(task);
    let mut filtered: BTreeMap<&str, i32> = BTreeMap::new();
    let (mut suited, mut unable) = (Vec::new(), Vec::new());
    for candidate in agents {
        match (needs.unmet(candidate.attributes), unable_of(candidate.attributes)) {
            (Some(constraint), _) => *filtered.entry(constraint).or_default() += 1,
            (None, Some(why)) => unable.push((candidate.agent, why)),
            (None, None) => suited.push(candidate),
        }
    }
    if suited.iter().any(|candidate| candidate.free().holds(&needs.resources)) {
        return Vec::new();
    }
    let by_constraint = |(constraint, agents)| {
        let detail = format!("they do not satisfy the constraint {constraint}");
        Reason { code: FILTERED_CONSTRAINT.into(), detail, agents }
    };
    let mut found: Vec<Reason> = filtered.into_iter().map(by_constraint).collect();
    found.extend(DIMENSIONS.iter().filter_map(|dimension| short_of(dimension, &suited, &needs.resources)));
    found.sort_by(|a, b| b.agents.cmp(&a.agents).then_with(|| a.cmp(b)));
    found.truncate(REASONS_MAX - 1);
    if !suited.iter().any(|candidate| candidate.total.holds(&needs.resources)) {
        found.insert(0, unable_to(&unable).unwrap_or_else(|| never_fits(agents.len(), suited.len(), &needs.resources)));
    }
    found
}

/// True if nothing but another agent could help: none is there, or none that is and can start anything could ever run it.
pub fn is_hopeless(reasons: &[Reason]) -> bool {
    reasons.iter().any(|reason| [NO_AGENTS, NEVER_FITS, AGENT_UNABLE].contains(&reason.code.as_str()))
}

/// Why an agent can start nothing, if it says so.
pub(crate) fn unable_of(attributes: &[Attribute]) -> Option<&str> {
    attributes.iter().find(|attribute| attribute.name == UNABLE).map(|attribute| attribute.value.as_str())
}

fn unable_to(agents: &[(&AgentId, &str)]) -> Option<Reason> {
    let (agent, why) = agents.first()?;
    let detail = format!("agent {agent} can start nothing at present: {why}");
    Some(Reason { code: AGENT_UNABLE.into(), detail, agents: i32::try_from(agents.len()).unwrap_or(i32::MAX) })
}

/// How many agents are short of one kind of resource, and which is closest to having enough.
fn short_of(dimension: &Dimension, agents: &[&Candidate<'_>], need: &Resources) -> Option<Reason> {
    let Dimension { code, name, of, show } = dimension;
    let need = of(need);
    let short = agents.iter().filter(|candidate| of(&candidate.free()) < need);
    let count = i32::try_from(short.clone().count()).unwrap_or(i32::MAX);
    let best = short.min_by_key(|candidate| (need - of(&candidate.free()), candidate.agent))?;
    let (free, total) = (of(&best.free()), of(&best.total));
    let detail = format!(
        "it needs {} {name}; agent {} is closest: {} of {} free, {} short",
        show(need),
        best.agent,
        show(free),
        show(total),
        show(need - free)
    );
    Some(Reason { code: (*code).into(), detail, agents: count })
}

fn never_fits(agents: usize, suited: usize, need: &Resources) -> Reason {
    let needs = format!("{} cpus, {} memory and {} disk", need.cpus, need.memory, need.disk);
    let detail = match suited {
        0 => "no agent satisfies all its constraints".to_owned(),
        _ => format!("even when empty, no agent that satisfies its constraints has {needs}"),
    };
    Reason { code: NEVER_FITS.into(), detail, agents: i32::try_from(agents).unwrap_or(i32::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn amounts() -> impl Strategy<Value = (Resources, Resources)> {
        let pair = || (0..6i64).prop_flat_map(|total| (Just(total), 0..=total));
        (pair(), pair(), pair()).prop_map(|(cpus, memory, disk)| {
            let resources = |cpus, memory, disk| Resources { cpus: MilliCpus(cpus), memory: Bytes(memory), disk: Bytes(disk) };
            (resources(cpus.0, memory.0, disk.0), resources(cpus.1, memory.1, disk.1))
        })
    }

    proptest! {
        /// Ending the search early finds what looking at all finds.
        #[test]
        fn the_cut_off_changes_nothing(rooms in proptest::collection::vec(amounts(), 1..8), need in amounts(), avoid in 0..8usize) {
            let names: Vec<AgentId> = (0..8).map(|n| AgentId::parse(&format!("a{n}")).expect("an id")).collect();
            let mut rooms: Vec<Room<'_>> =
                rooms.into_iter().zip(&names).map(|((total, free), agent)| Room { agent, total, free }).collect();
            rooms.sort_by_key(|room| (room.free.cpus, room.agent));
            let widest = rooms.iter().map(|room| room.total.cpus.0).max();
            let wish = |widest| Wish { need: need.1, avoid: names.get(avoid), placement: Placement::BestFit, widest };
            let suits = |agent: &AgentId| *agent != names[0];
            let found = preferred(rooms.iter().copied(), &wish(widest), suits);
            prop_assert_eq!(found, preferred(rooms.iter().copied(), &wish(None), suits));
            let any = rooms.iter().any(|room| room.free.holds(&need.1) && suits(room.agent));
            prop_assert_eq!(found.is_some(), any);
        }
    }
}
