//! Manifest-list drafts: create, annotate, inspect, push, remove.
