//! What reads Vaultwarden's answers, for the fuzz targets in `tests/fuzz`; compiled with `cfg(fuzzing)` only.

use super::decode::{self, Objects};

/// A body, whatever was asked.
pub fn body(bytes: &[u8]) {
    let _ = decode::message(bytes);
    let _ = decode::version(bytes);
    let _ = decode::portal(bytes);
    let _ = decode::configuration(bytes);
    let _ = decode::account(bytes);
    let _ = decode::is_object(bytes);
}

/// A list of accounts that arrives in pieces of `size` bytes (at least one). Returns how many objects it has, if it
/// is whole.
pub fn list(bytes: &[u8], size: usize) -> Option<usize> {
    let mut objects = Objects::default();
    let mut count = 0;
    for piece in bytes.chunks(size.max(1)) {
        let complete = objects.push(piece).ok()?;
        count += complete.len();
        for object in complete {
            let _ = decode::account(&object);
        }
    }
    objects.finish().ok().map(|()| count)
}
