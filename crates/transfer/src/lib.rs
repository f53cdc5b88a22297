//! The copy engine: plan a graph of steps, print it, run it.
