//! The node agent and the task supervisor.
