//! The measurements, each in a module of its own.

pub(crate) mod audit;
pub(crate) mod bare;
pub(crate) mod burst;
pub(crate) mod cron;
pub(crate) mod event;
pub(crate) mod expressions;
pub(crate) mod idle;
pub(crate) mod jobs;
pub(crate) mod kafka;
pub(crate) mod paced;
pub(crate) mod restart;
pub(crate) mod round;
pub(crate) mod sim;
pub(crate) mod spawn;
pub(crate) mod verify;
