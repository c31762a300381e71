//! Everything on real brokers.

mod conformance;
