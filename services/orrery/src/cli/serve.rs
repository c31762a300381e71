//! `orrery standalone` and `orrery serve`.

use super::{Context, metrics};
use crate::serve::{Role, serve};
use crate::standalone::{self, Settings};
use anyhow::Result;
use clap::Args;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// How often standalone looks whether a part of it has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct Standalone {
    /// Where to serve the API; port 0 for any that is free
    #[arg(long)]
    listen: Option<String>,
    /// Go on with what can be read of a damaged log; what is lost is told, and the damaged database is kept
    #[arg(long)]
    salvage: bool,
    /// Believe the wall clock, though it is further ahead of the last append than anything explains
    #[arg(long)]
    accept_clock: bool,
}

impl Standalone {
    pub(crate) fn run(self, mut context: Context) -> Result<ExitCode> {
        context.config.flag("listen", self.listen.as_deref());
        let settings = Settings { salvage: self.salvage, accept_clock: self.accept_clock, ..Settings::from_config(&context.config)? };
        metrics::install()?;
        let running = standalone::Standalone::start(&settings)?;
        running.wait_until_ready()?;
        // Until here a signal ends the process at once, which is as safe as kill -9.
        let signals = Signals::new()?;
        writeln!(std::io::stdout(), "ready {}", running.url())?;
        std::io::stdout().flush()?;
        signals.wait(|| {
            running.tell_trouble();
            running.failure()
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
pub(crate) struct Serve {
    /// Which service
    #[arg(value_enum)]
    role: Role,
    /// Where the gateway serves the API; port 0 for any that is free
    #[arg(long)]
    listen: Option<String>,
}

impl Serve {
    pub(crate) fn run(self, mut context: Context) -> Result<ExitCode> {
        context.config.flag("listen", self.listen.as_deref());
        serve(self.role, &context.config)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// SIGINT and SIGTERM.
pub(crate) struct Signals {
    runtime: tokio::runtime::Runtime,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _inside = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(_inside);
        Ok(Self { runtime, interrupt, terminate })
    }

    /// True if one of them comes within this time.
    pub(crate) fn came_within(&mut self, at_most: Duration) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.interrupt.recv() => true,
                _ = self.terminate.recv() => true,
                () = tokio::time::sleep(at_most) => false,
            }
        })
    }

    /// Waits for one of them, or until there is a failure, which it returns.
    pub(crate) fn wait(mut self, failure: impl Fn() -> Option<String>) -> Result<()> {
        self.runtime.block_on(async {
            let mut look = tokio::time::interval(LOOK_EVERY);
            loop {
                tokio::select! {
                    _ = self.interrupt.recv() => return,
                    _ = self.terminate.recv() => return,
                    _ = look.tick() => if failure().is_some() { return },
                }
            }
        });
        failure().map_or(Ok(()), |why| Err(anyhow::anyhow!(why)))
    }
}
