//! Entry points for the fuzz targets in `tests/fuzz`; compiled with `cfg(fuzzing)` only.

use super::decode::{self, Objects};

/// Decodes a body as the answer to every call.
pub fn body(bytes: &[u8]) {
    let _ = decode::message(bytes);
    let _ = decode::version(bytes);
    let _ = decode::server_info(bytes);
    let _ = decode::configuration(bytes);
    let _ = decode::account(bytes);
    let _ = decode::is_object(bytes);
}

/// Decodes a list of accounts that arrives in pieces of `size` bytes (at least one). Returns the number of its objects
/// if it is complete.
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
