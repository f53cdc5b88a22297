//! A registry in memory for tests: faults, latency, quirks and a request log; image makers.
