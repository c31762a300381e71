//! Pure: decides where a task runs.
