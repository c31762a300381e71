//! Measurements of services in processes of their own, on a real broker.

pub(crate) mod event;
mod site;
