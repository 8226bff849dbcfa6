//! The default topology from end to end, with the real processors, codecs and sinks, on the embedded broker.

mod bad_input;
mod codes_page;
mod holds;
mod payments;
mod replay;
mod restart;
mod topologies;
mod under_test;
