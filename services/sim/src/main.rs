//! `orrery-sim`: runs seeds.
fn main() {}
