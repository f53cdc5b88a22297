//! The registry server: the distribution protocol over the content store.
