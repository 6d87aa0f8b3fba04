//! Targets per codec and per state machine; the corpus is replayed by the tests.
