//! Reads text files of any editor: UTF-8 with or without a byte order mark, and UTF-16 with one (Notepad and PowerShell
//! write both).

use std::io;
use std::path::Path;

/// The bytes are not text; completes the sentence "the file ...".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}; save it as UTF-8")]
pub(crate) struct NotText(&'static str);

/// Reads a text file.
///
/// # Errors
/// That of the operating system, or [`io::ErrorKind::InvalidData`] with a [`NotText`].
pub(crate) fn read(path: &Path) -> io::Result<String> {
    decode(std::fs::read(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Decodes text and removes its byte order mark.
///
/// # Errors
/// The bytes are not text. The error repeats none of them, because they may be a secret.
pub(crate) fn decode(bytes: Vec<u8>) -> Result<String, NotText> {
    match bytes.as_slice() {
        [0xff, 0xfe, units @ ..] => utf16(units, u16::from_le_bytes),
        [0xfe, 0xff, units @ ..] => utf16(units, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, text @ ..] => utf8(text.to_vec()),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: Vec<u8>) -> Result<String, NotText> {
    if bytes.contains(&0) {
        return Err(NotText("contains NUL characters, as UTF-16 text does"));
    }
    String::from_utf8(bytes).map_err(|_| NotText("is not UTF-8 text"))
}

fn utf16(units: &[u8], number: fn([u8; 2]) -> u16) -> Result<String, NotText> {
    let (pairs, rest) = units.as_chunks();
    let text = char::decode_utf16(pairs.iter().copied().map(number)).collect::<Result<String, _>>();
    match text {
        Ok(text) if rest.is_empty() && !text.contains('\0') => Ok(text),
        _ => Err(NotText("is malformed UTF-16 text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_of_a_text_is_decoded_to_the_same_text() {
        for bytes in [
            &b"p\xc3\xa4ss\n"[..],
            b"\xef\xbb\xbfp\xc3\xa4ss\n",
            b"\xff\xfep\0\xe4\0s\0s\0\n\0",
            b"\xfe\xff\0p\0\xe4\0s\0s\0\n",
        ] {
            assert_eq!(decode(bytes.to_vec()).as_deref(), Ok("päss\n"), "{bytes:?}");
        }
        assert_eq!(decode(Vec::new()).as_deref(), Ok(""));
    }

    #[test]
    fn an_error_about_bytes_that_are_not_text_repeats_none_of_them() {
        for (bytes, cause) in [
            (&b"p\xe4ss"[..], "is not UTF-8 text; save it as UTF-8"),
            (
                b"p\0a\0s\0s\0",
                "contains NUL characters, as UTF-16 text does; save it as UTF-8",
            ),
            (b"\xff\xfep\0a", "is malformed UTF-16 text; save it as UTF-8"),
            (
                b"\xff\xfe\x00\xd8p\0",
                "is malformed UTF-16 text; save it as UTF-8",
            ),
        ] {
            assert_eq!(decode(bytes.to_vec()).unwrap_err().to_string(), cause);
        }
    }
}
