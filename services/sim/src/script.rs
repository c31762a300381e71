//! Load that is written down: who sends what and when, and what becomes of the programs that are started by it.

use crate::machine::Fortune;
use crate::plan::SECOND;
use orrery_agent::wire::StartTask;
use orrery_model::messages::EndKind;
use serde_json::Value;

/// All of it.
#[derive(Debug, Clone)]
pub struct Script {
    /// What is sent, and when.
    pub acts: Vec<(i64, Act)>,
    /// Programs that jobs run. Others end within two seconds.
    pub programs: Vec<Program>,
}

/// What somebody sends.
#[derive(Debug, Clone)]
pub enum Act {
    /// Somebody defines a job, or changes it.
    Define {
        /// Who.
        by: &'static str,
        /// Its document.
        job: Value,
    },
    /// Somebody asks for a run.
    Run {
        /// Who.
        by: &'static str,
        /// Of which job.
        job: &'static str,
    },
    /// A system sends an event.
    Event {
        /// Partition of the data team's topic.
        partition: u32,
        /// What it says.
        data: Value,
    },
}

/// A program, by the first word of a command.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// That word.
    pub name: &'static str,
    /// From start to end, but for a part of a second.
    pub runs_us: i64,
    /// First attempts that start from one time on and before another one fail.
    pub fails: Option<(i64, i64)>,
}

impl Script {
    /// How long a task that starts now will run, and how it will end.
    pub fn fortune(&self, task: &StartTask, now_us: i64) -> Fortune {
        let program = self.programs.iter().find(|program| task.argv.first().is_some_and(|word| word == program.name));
        let is_first = task.attempt.split().is_some_and(|(_, number)| number == 1);
        let fails = program.and_then(|program| program.fails).is_some_and(|(from, until)| (from..until).contains(&now_us));
        let kind = if is_first && fails { EndKind::Failed } else { EndKind::Succeeded };
        Fortune { runs_us: program.map_or(SECOND, |program| program.runs_us), kind }
    }
}
