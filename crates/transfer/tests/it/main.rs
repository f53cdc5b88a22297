//! The copy engine over stores in memory.

mod collect;
mod copy;
mod memory;
mod plan;
mod real;
