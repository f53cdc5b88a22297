//! The distribution protocol as a client.
