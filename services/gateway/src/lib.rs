//! HTTP in, records out; read views over the log.
