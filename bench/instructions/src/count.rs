//! What is counted: callgrind counts while [`counted`] runs, and finds it by its name.

use std::hint::black_box;

use crate::Result;

/// Runs a step for so many records, and says so on standard output.
pub(crate) fn step<T>(name: &str, records: usize, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut act = Some(act);
    let mut result = None;
    counted(&mut || result = act.take().map(|act| act()));
    println!("{name} {records}");
    result.unwrap_or_else(|| Err("a step was not run".into()))
}

/// One function for all steps, so that it has one name, and never part of its caller, so that it has a name at all.
#[inline(never)]
fn counted(act: &mut dyn FnMut()) {
    act();
    // Keeps the call above from being the last act, which the compiler would make a jump.
    black_box(());
}
