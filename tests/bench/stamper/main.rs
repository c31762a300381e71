//! `orrery-stamp SOCKET LABEL`: the program that the jobs of the measurements run. It tells the socket when it started, and links
//! nothing: what the loader takes to start it would be measured with every start.

use rustix::time::{ClockId, clock_gettime};
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before everything else: this is the start that the measurements are about.
    let time = clock_gettime(ClockId::Monotonic);
    let started = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    let mut args = std::env::args().skip(1);
    let (Some(socket), Some(label), None) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: orrery-stamp SOCKET LABEL");
        return ExitCode::from(2);
    };
    let sent = UnixDatagram::unbound().and_then(|from| from.send_to(format!("{label} {started}").as_bytes(), socket));
    if sent.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
