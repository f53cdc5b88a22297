//! The client against the lab and against scripted servers: what goes over the wire, how often, and in what order.

mod auth;
mod budget;
mod hostile;
mod listing;
mod pacing;
mod proxy;
mod reading;
mod scripted;
mod start_up;
mod streaming;
mod support;
mod tls;
mod writing;
