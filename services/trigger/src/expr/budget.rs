//! What evaluations may cost: counted, so that it is the same on every machine and in every replay.

/// Steps of everything that one job does with one event, or one command with its run: a step takes less than 100 ns, so all of them
/// less than half a second.
pub const WORK_MAX: u64 = 5_000_000;
/// Bytes that these may make. With the event, which takes four times as much as its text at most, this stays far below 64 MiB.
pub const MEMORY_MAX: u64 = 8 << 20;
/// What a list, map or text takes besides what it holds, with what its allocator rounds up.
const HOLDER_BYTES: u64 = 96;
/// Bytes that are looked through or copied in one step.
const STEP_BYTES: u64 = 64;

/// What is left to spend.
#[derive(Debug, Clone)]
pub struct Budget {
    work: u64,
    memory: u64,
}

/// A budget has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// More than [`WORK_MAX`] steps.
    Work,
    /// More than [`MEMORY_MAX`] bytes.
    Memory,
}

impl Default for Budget {
    fn default() -> Self {
        Self { work: WORK_MAX, memory: MEMORY_MAX }
    }
}

impl Budget {
    /// Steps that were spent.
    pub const fn spent(&self) -> u64 {
        WORK_MAX - self.work
    }

    /// Bytes that were taken.
    pub const fn taken(&self) -> u64 {
        MEMORY_MAX - self.memory
    }

    /// True once an evaluation has come to its end.
    pub const fn is_exhausted(&self) -> bool {
        self.work == 0 || self.memory == 0
    }

    /// Spends steps.
    pub(crate) fn spend(&mut self, steps: u64) -> Result<(), Exhausted> {
        match self.work.checked_sub(steps) {
            Some(left) => self.work = left,
            None => {
                self.work = 0;
                return Err(Exhausted::Work);
            }
        }
        Ok(())
    }

    /// Looks through some bytes.
    pub(crate) fn look(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.spend((bytes as u64).div_ceil(STEP_BYTES))
    }

    /// Makes a list, map or text of so many bytes; before it is made.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.grow(bytes)?;
        self.take_memory(HOLDER_BYTES)
    }

    /// Makes one longer by so many bytes.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.look(bytes)?;
        self.take_memory(bytes as u64)
    }

    fn take_memory(&mut self, bytes: u64) -> Result<(), Exhausted> {
        match self.memory.checked_sub(bytes) {
            Some(left) => self.memory = left,
            None => {
                self.memory = 0;
                return Err(Exhausted::Memory);
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Work => f.write_str("it takes too long: the event is too large for what is done with it"),
            Self::Memory => {
                write!(f, "it makes more than {} MiB: the event is too large for what is done with it", MEMORY_MAX >> 20)
            }
        }
    }
}
