//! Agents and tasks, each in the cell whose allocator has it.

use super::ViewState;
use orrery_allocator::place::{Candidate, candidates};
use orrery_allocator::rows::{AgentRow, TaskRow};
use orrery_model::id::{AgentId, AttemptId};
use std::collections::BTreeMap;

/// The agents and tasks of one cell: the rows of its partition of `allocator.changelog`.
///
/// Each cell has tables of its own: a task that one cell handed back and another one took has had a row in both, and the partitions
/// are read one after the other, so that in one table the first cell's deletion could come behind the second cell's row.
#[derive(Default)]
pub struct CellView {
    /// Agents, as its allocator knows them.
    pub agents: BTreeMap<AgentId, AgentRow>,
    /// Tasks that wait in it or are placed.
    pub tasks: BTreeMap<AttemptId, TaskRow>,
}

impl CellView {
    /// Tasks without a place.
    pub fn waiting(&self) -> impl Iterator<Item = (&AttemptId, &TaskRow)> {
        self.tasks.iter().filter(|(_, task)| task.place.is_none())
    }
    /// Tasks of an agent.
    pub fn tasks_of<'v>(&'v self, agent: &'v AgentId) -> impl Iterator<Item = (&'v AttemptId, &'v TaskRow)> {
        self.tasks.iter().filter(move |(_, task)| task.place.as_ref().is_some_and(|place| place.agent == *agent))
    }
    /// Agents that may be given tasks.
    pub fn candidates(&self) -> Vec<Candidate<'_>> {
        candidates(self.agents.iter(), self.tasks.values())
    }
}

impl ViewState {
    /// An agent, and its cell. Another cell that refused it knows it as lost: the one that it has joined counts.
    pub fn agent(&self, agent: &AgentId) -> Option<(u32, &CellView, &AgentRow)> {
        let known = self.cells.iter().filter_map(|(cell, view)| Some((*cell, view, view.agents.get(agent)?)));
        known.min_by_key(|(_, _, row)| row.lost.is_some())
    }
    /// A task, and its cell. Where one that handed it back has not been read as far as the next, it still has it: the last one counts.
    pub fn task(&self, attempt: &AttemptId) -> Option<(u32, &CellView, &TaskRow)> {
        let known = self.cells.iter().filter_map(|(cell, view)| Some((*cell, view, view.tasks.get(attempt)?)));
        known.max_by_key(|(_, _, row)| row.spec.hop)
    }
    /// All agents.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentId, &AgentRow)> {
        self.cells.values().flat_map(|view| &view.agents)
    }
    /// Number of tasks that wait or are placed.
    pub fn task_count(&self) -> usize {
        self.cells.values().map(|view| view.tasks.len()).sum()
    }
    /// Tasks without a place, and their cells.
    pub fn waiting(&self) -> impl Iterator<Item = (u32, &AttemptId, &TaskRow)> {
        self.cells.iter().flat_map(|(cell, view)| view.waiting().map(move |(attempt, task)| (*cell, attempt, task)))
    }
    /// Agents that may be given tasks, of every cell.
    pub fn candidates(&self) -> BTreeMap<u32, Vec<Candidate<'_>>> {
        self.cells.iter().map(|(cell, view)| (*cell, view.candidates())).collect()
    }
    /// Number of agents that are lost.
    pub fn lost_agents(&self) -> usize {
        self.agents().filter(|(_, agent)| agent.lost.is_some()).count()
    }
}
