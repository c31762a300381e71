//! Pure: decides when a job runs.
