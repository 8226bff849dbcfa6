//! Sinks that build the read models.
