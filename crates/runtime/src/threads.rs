//! How the engine starts threads, behind a trait so that a simulation can run them in an order of its own.

use std::io;

/// What a thread does.
pub type Body = Box<dyn FnOnce() + Send>;

pub trait Threads: Send + Sync {
    /// Starts a thread that nobody waits for; its name is for people.
    fn spawn(&self, name: String, body: Body) -> io::Result<()>;
}

/// Threads of the operating system.
#[derive(Debug, Default)]
pub struct SystemThreads;

impl Threads for SystemThreads {
    fn spawn(&self, name: String, body: Body) -> io::Result<()> {
        std::thread::Builder::new().name(name).spawn(body).map(drop)
    }
}
