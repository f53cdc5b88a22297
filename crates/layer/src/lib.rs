//! Layers as byte streams: byte-exact tar, compression, digest and diff ID in one pass.
