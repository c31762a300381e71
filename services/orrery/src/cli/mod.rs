//! The command line: nouns, then verbs.

mod agent;
mod alerts;
pub(crate) mod audit;
mod client;
mod cluster;
mod config;
mod dlq;
mod event;
mod explain;
mod job;
mod logs;
pub(crate) mod metrics;
mod output;
mod run;
mod schedule;
pub(crate) mod serve;
mod simulate;
mod topics;

use crate::config::Config;
use clap::{Args, CommandFactory, Parser, Subcommand};
pub(crate) use client::{Client, Refusal};
pub(crate) use output::Format;
use std::path::PathBuf;
use std::process::ExitCode;

/// Services that own shards, and have journals.
pub(crate) const SERVICES: [&str; 2] = ["trigger", "allocator"];

/// Exit status, after which scripts can go.
pub(crate) mod exit {
    pub(crate) const ERROR: u8 = 1;
    pub(crate) const NOT_FOUND: u8 = 3;
    pub(crate) const CONFLICT: u8 = 4;
    /// The run failed, or was not placed.
    pub(crate) const RUN_FAILED: u8 = 5;
    /// A plan that is not empty.
    pub(crate) const CHANGES_PENDING: u8 = 6;
}

/// An event-streaming cluster scheduler: jobs start on events, schedules and other jobs' ends; every decision can be replayed.
#[derive(Parser)]
#[command(
    name = "orrery",
    version,
    after_help = "Exit status: 0 ok, 1 error, 2 usage, 3 not found, 4 conflict, 5 run failed, 6 changes pending.\nFirst steps: `orrery demo`, then `orrery standalone`."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args)]
struct Global {
    /// Output: table, wide, json, yaml or name
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Configuration file (TOML)
    #[arg(long, global = true, env = "ORRERY_CONFIG")]
    config: Option<PathBuf>,
    /// Server to speak to
    #[arg(long, global = true)]
    url: Option<String>,
    /// Folder of standalone's data
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run all services in one process, on the embedded log
    Standalone(serve::Standalone),
    /// Run one service of a cluster on Kafka; or, without brokers, a gateway that shows a copied data folder
    Serve(serve::Serve),
    /// Plan, make and check the cluster's topics on Kafka
    #[command(subcommand)]
    Topics(topics::Topics),
    /// See events fire jobs, in a private standalone
    Demo(crate::demo::Demo),
    /// Define, show and run jobs
    #[command(subcommand)]
    Job(job::Job),
    /// Show and steer runs
    #[command(subcommand)]
    Run(run::Run),
    /// Send events
    #[command(subcommand)]
    Event(event::Event),
    /// Read schedules
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    /// Say why
    #[command(subcommand)]
    Explain(explain::Explain),
    /// Show agents
    #[command(subcommand)]
    Agent(agent::Agent),
    /// Read and verify the decision journals
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Say what jobs, agents and events would come to, without running anything
    Simulate(Box<simulate::Simulate>),
    /// Show and settle records that could not be taken
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    /// Show what the cluster consists of
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Show the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What a command can use.
pub(crate) struct Context {
    pub config: Config,
    pub format: Format,
}

impl Context {
    /// A client of the configured server.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let url = self.config.get("url").unwrap_or_default();
        Ok(Client::new(url, &self.config.token()?, self.config.principal()))
    }
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    end_quietly_without_reader();
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(error.downcast_ref::<Refusal>().map_or(exit::ERROR, Refusal::exit_code))
        }
    }
}

/// `orrery run list | head` is no failure: whoever read our output has seen enough.
fn end_quietly_without_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        if text.is_some_and(|text| text.starts_with("failed printing to stdout") && text.contains("Broken pipe")) {
            std::process::exit(0);
        }
        usual(panic);
    }));
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut config = Config::load(cli.global.config.as_deref())?;
    config.flag("url", cli.global.url.as_deref());
    config.flag("data_dir", cli.global.data_dir.as_deref().map(|dir| dir.display().to_string()).as_deref());
    start_tracing(&config)?;
    let context = Context { config, format: cli.global.output };
    match cli.command {
        Command::Standalone(command) => command.run(context),
        Command::Serve(command) => command.run(context),
        Command::Topics(command) => command.run(&context),
        Command::Demo(command) => command.run(&context),
        Command::Job(command) => command.run(&context),
        Command::Run(command) => command.run(&context),
        Command::Event(command) => command.run(&context),
        Command::Schedule(command) => command.run(&context),
        Command::Explain(command) => command.run(&context),
        Command::Agent(command) => command.run(&context),
        Command::Audit(command) => command.run(&context),
        Command::Simulate(command) => command.run(&context),
        Command::Dlq(command) => command.run(&context),
        Command::Cluster(command) => command.run(&context),
        Command::Config(command) => command.run(&context),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "orrery", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn start_tracing(config: &Config) -> anyhow::Result<()> {
    let wanted = config.get("log").unwrap_or("warn");
    // RocksDB calls the header of its own log a warning.
    let directives = if wanted.contains("rocksdb") { wanted.to_owned() } else { format!("{wanted},rocksdb=error") };
    let filter = tracing_subscriber::EnvFilter::try_new(directives)
        .map_err(|e| anyhow::anyhow!("log: {wanted:?} is not a level or directive: {e}"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}
