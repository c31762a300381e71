//! The binary: command line, service start-up, configuration.
fn main() {}
