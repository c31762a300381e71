//! The shard loop: intake, stamps, one commit, head rows, restore.
