//! Reads BER as LDAP restricts it (RFC 4511, 5.1): definite lengths and one-byte tags. The DER of certificates fits that
//! too. All functions are total: no bytes make them recurse or panic.

/// A violation of the encoding or of the protocol; completes the sentence "the message ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub &'static str);

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

const CONSTRUCTED: u8 = 0x20;

/// The first bytes of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Class, form and number.
    pub tag: u8,
    /// The size of tag and length, in bytes.
    pub size: usize,
    /// The size of the contents, in bytes.
    pub length: usize,
}

/// Reads a header. `None` if the bytes end within it.
pub(crate) fn header(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some((&tag, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if tag & 0x1f == 0x1f {
        return Err(Malformed(
            "has a tag of more than one byte, which LDAP does not use",
        ));
    }
    let Some((&first, rest)) = rest.split_first() else {
        return Ok(None);
    };
    if first < 0x80 {
        return Ok(Some(Header {
            tag,
            size: 2,
            length: usize::from(first),
        }));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 {
        return Err(Malformed("has an indefinite length, which LDAP forbids"));
    }
    if count > 8 {
        return Err(Malformed("has a length of more than eight bytes"));
    }
    let Some(digits) = rest.get(..count) else {
        return Ok(None);
    };
    let length = digits
        .iter()
        .fold(0u64, |sum, &digit| (sum << 8) | u64::from(digit));
    let length = usize::try_from(length).map_err(|_| Malformed("has a length that exceeds the memory"))?;
    Ok(Some(Header {
        tag,
        size: 2 + count,
        length,
    }))
}

/// Reads elements one after another.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag of the next element, without reading it.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Reads the next element: tag and contents. `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        const CUT: Malformed = Malformed("ends within an element");
        if self.0.is_empty() {
            return Ok(None);
        }
        let header = header(self.0)?.ok_or(CUT)?;
        let end = header.size.checked_add(header.length).ok_or(CUT)?;
        let contents = self.0.get(header.size..end).ok_or(CUT)?;
        self.0 = &self.0[end..];
        Ok(Some((header.tag, contents)))
    }

    /// Reads the next element, which must have this tag. `or` is the error otherwise.
    pub(crate) fn expect(&mut self, tag: u8, or: &'static str) -> Result<&'a [u8], Malformed> {
        match self.next()? {
            Some((found, contents)) if found == tag => Ok(contents),
            _ => Err(Malformed(or)),
        }
    }

    /// Reads the next element if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        if self.peek() == Some(tag) {
            Ok(self.next()?.map(|(_, contents)| contents))
        } else {
            Ok(None)
        }
    }
}

/// The value of an INTEGER or ENUMERATED of at most eight bytes.
pub(crate) fn integer(contents: &[u8]) -> Result<i64, Malformed> {
    match contents {
        [] => Err(Malformed("has an integer without digits")),
        [first, ..] if contents.len() <= 8 => {
            let sign = if first & 0x80 == 0 { 0 } else { -1 };
            Ok(contents
                .iter()
                .fold(sign, |sum, &digit| (sum << 8) | i64::from(digit)))
        }
        _ => Err(Malformed("has an integer of more than eight bytes")),
    }
}

/// The value of a BOOLEAN.
pub(crate) fn boolean(contents: &[u8]) -> Result<bool, Malformed> {
    match contents {
        [value] => Ok(*value != 0),
        _ => Err(Malformed("has a boolean that is not one byte")),
    }
}

/// Checks that every constructed element consists of complete elements, with at most `depth` levels and `count` elements
/// in total. Returns the number of elements.
pub(crate) fn check_elements(bytes: &[u8], depth: usize, count: usize) -> Result<usize, Malformed> {
    let mut open = vec![Reader::new(bytes)];
    let mut left = count;
    while let Some(innermost) = open.last_mut() {
        match innermost.next()? {
            None => {
                open.pop();
            }
            Some(_) if left == 0 => {
                return Err(Malformed("has more elements than any answer to our searches"));
            }
            Some((tag, contents)) if tag & CONSTRUCTED != 0 => {
                left -= 1;
                if open.len() >= depth {
                    return Err(Malformed("is nested more deeply than any LDAP message"));
                }
                open.push(Reader::new(contents));
            }
            Some(_) => left -= 1,
        }
    }
    Ok(count - left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_read_in_short_and_long_form_and_is_none_while_bytes_are_missing() {
        assert_eq!(
            header(&[0x30, 0x05]),
            Ok(Some(Header {
                tag: 0x30,
                size: 2,
                length: 5
            }))
        );
        assert_eq!(
            header(&[0x30, 0x82, 0x01, 0x00]),
            Ok(Some(Header {
                tag: 0x30,
                size: 4,
                length: 256
            }))
        );
        for cut in [&[][..], &[0x30], &[0x30, 0x82], &[0x30, 0x82, 0x01]] {
            assert_eq!(header(cut), Ok(None));
        }
    }

    #[test]
    fn encodings_that_ldap_forbids_are_malformed() {
        assert!(header(&[0x30, 0x80, 0, 0]).is_err(), "indefinite length");
        assert!(header(&[0x1f, 0x85, 0x01, 0]).is_err(), "long tag");
        assert!(
            header(&[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1]).is_err(),
            "length of length"
        );
        assert!(Reader::new(&[0x04, 0x05, b'a']).next().is_err(), "cut");
        assert!(integer(&[]).is_err() && integer(&[1; 9]).is_err() && boolean(&[]).is_err());
    }

    #[test]
    fn integers_keep_their_sign() {
        assert_eq!(integer(&[0xff]), Ok(-1));
        assert_eq!(integer(&[0x00, 0xff]), Ok(255));
        assert_eq!(integer(&[0x10, 0x00]), Ok(4096));
    }

    #[test]
    fn nesting_is_bounded_without_recursion() {
        let mut deep = Vec::new();
        for _ in 0..20_000 {
            let mut outer = vec![0x30, 0x83];
            outer.extend(&u32::try_from(deep.len()).unwrap().to_be_bytes()[1..]);
            outer.extend(&deep);
            deep = outer;
            if deep.len() > 60_000 {
                break;
            }
        }
        assert!(check_elements(&deep, 32, 100).is_err());
        assert_eq!(check_elements(&[0x30, 0x02, 0x30, 0x00], 32, 5), Ok(2));
    }

    #[test]
    fn elements_are_counted_on_every_level() {
        let three = [0x30, 0x04, 0x04, 0x00, 0x30, 0x00];
        assert_eq!(check_elements(&three, 3, 3), Ok(3));
        assert!(check_elements(&three, 3, 2).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = header(&bytes);
            let _ = check_elements(&bytes, 8, 20);
            let mut reader = Reader::new(&bytes);
            while let Ok(Some((_, contents))) = reader.next() {
                let _ = (integer(contents), boolean(contents));
            }
        }
    }
}
