//! Re-derives every decision from the recorded inputs and compares.
