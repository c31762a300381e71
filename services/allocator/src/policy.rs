//! By which rules agents and tasks are chosen, where there is more than one rule.
//!
//! A live allocator goes by the default. Another policy is no row and no decision: it is for those who ask what would have been,
//! and a journal that was written by another one does not verify.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The rules of one allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Which agent.
    pub placement: Placement,
    /// Who is next.
    pub order: Order,
}

/// Which of the agents that a task fits on is given it; among equals the smallest id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// The one that is fullest afterwards: the smallest dominant remainder.
    #[default]
    BestFit,
    /// The one that is emptiest afterwards: the largest dominant remainder.
    WorstFit,
    /// The one with the smallest id.
    FirstFit,
}

/// Who is next of the tasks that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The one of the highest priority, then the one that came first.
    #[default]
    Priority,
    /// The one that came first.
    Fifo,
}

impl Placement {
    /// Every placement.
    pub const ALL: [Self; 3] = [Self::BestFit, Self::WorstFit, Self::FirstFit];

    /// Its name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BestFit => "best-fit",
            Self::WorstFit => "worst-fit",
            Self::FirstFit => "first-fit",
        }
    }
}

impl Order {
    /// Every order.
    pub const ALL: [Self; 2] = [Self::Priority, Self::Fifo];

    /// Its name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Fifo => "fifo",
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Placement {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|known| known.word() == text);
        found.ok_or_else(|| format!("{text:?} is not a placement; it is one of {}", Self::ALL.map(Self::word).join(", ")))
    }
}

impl FromStr for Order {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|known| known.word() == text);
        found.ok_or_else(|| format!("{text:?} is not an order; it is one of {}", Self::ALL.map(Self::word).join(", ")))
    }
}
