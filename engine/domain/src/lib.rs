//! Policies, lifecycles and replication states: pure logic.
