//! The hidden subcommands of `orrery`, alone: `supervisor --dir D [--idle-ms N] [--file-bytes N]`, `hold-lease …` and `exec-as`.

use orrery_agent::supervisor::{self, Settings};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let subcommand = args.next().expect("a subcommand");
    if subcommand == supervisor::EXEC_AS {
        return supervisor::exec_as();
    }
    if subcommand == supervisor::HOLD_LEASE {
        return supervisor::hold_lease(args);
    }
    assert_eq!(subcommand, "supervisor");
    let (mut dir, mut settings) = (None, Settings::default());
    while let Some(option) = args.next() {
        let value = args.next().expect("a value").into_string().expect("UTF-8");
        match option.to_str() {
            Some("--dir") => dir = Some(PathBuf::from(value)),
            Some("--idle-ms") => settings.idle_ms = value.parse().expect("a number"),
            Some("--file-bytes") => settings.rotation.file_bytes = value.parse().expect("a number"),
            _ => panic!("{} is not known", option.display()),
        }
    }
    supervisor::main_with(&dir.expect("--dir"), settings)
}
