//! `orrery standalone` and `orrery serve`.

use super::{Context, metrics};
use crate::serve::{Role, serve};
use crate::standalone::{self, Settings};
use anyhow::Result;
use clap::Args;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

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

/// SIGINT and SIGTERM, and SIGHUP, when the terminal goes that the server was started from; unless whoever started it has it ignored
/// (nohup).
pub(crate) struct Signals {
    runtime: tokio::runtime::Runtime,
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _inside = runtime.enter();
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let hang_up = if ignores_hang_up() { None } else { Some(signal(SignalKind::hangup())?) };
        drop(_inside);
        Ok(Self { runtime, interrupt, terminate, hang_up })
    }

    /// True if one of them comes within this time.
    pub(crate) fn came_within(&mut self, at_most: Duration) -> bool {
        let came = came(&mut self.interrupt, &mut self.terminate, self.hang_up.as_mut());
        self.runtime.block_on(async {
            tokio::select! {
                () = came => true,
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
                    () = came(&mut self.interrupt, &mut self.terminate, self.hang_up.as_mut()) => return,
                    _ = look.tick() => if failure().is_some() { return },
                }
            }
        });
        failure().map_or(Ok(()), |why| Err(anyhow::anyhow!(why)))
    }
}

/// Waits for one of them.
async fn came(interrupt: &mut Signal, terminate: &mut Signal, hang_up: Option<&mut Signal>) {
    let hung_up = async {
        match hang_up {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = hung_up => {}
    }
}

/// True if SIGHUP, which is signal 1, was ignored when this process was started.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
