//! (in progress)

pub mod signals;
pub mod supervisor;
