//! Reads and writes single values. Each error says what is expected, in terms that an administrator knows.

use std::fmt;
use std::num::NonZeroU32;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

use crate::store::Location;

/// One string or a list of strings.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMany;

    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: de::Error>(self, one: &str) -> Result<Self::Value, E> {
            Ok(vec![one.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, many: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(many))
        }
    }

    deserializer.deserialize_any(OneOrMany)
}

/// One DN. Gives a list of DNs, which is an easy mistake, an error of its own.
pub(super) fn one_base<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct One;

    impl Visitor<'_> for One {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one DN in quotes; each base needs a [[directory]] table of its own")
        }

        fn visit_str<E: de::Error>(self, one: &str) -> Result<Self::Value, E> {
            Ok(Some(one.to_owned()))
        }
    }

    deserializer.deserialize_any(One)
}

/// Tables in double brackets. Gives single brackets, which are an easy mistake, an error of their own.
pub(super) fn tables<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Tables<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Tables<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table in double brackets: [[directory]]")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, tables: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(tables))
        }
    }

    deserializer.deserialize_any(Tables(std::marker::PhantomData))
}

/// A whole number of at least 1.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU32, D::Error> {
    i64::deserialize(deserializer)
        .ok()
        .and_then(|number| u32::try_from(number).ok())
        .and_then(NonZeroU32::new)
        .ok_or_else(|| de::Error::custom("expected a whole number of at least 1"))
}

/// A whole number of at least 1 for a key that may be absent.
pub(super) fn optional_count<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<NonZeroU32>, D::Error> {
    count(deserializer).map(Some)
}

/// A whole number.
pub(super) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    i64::deserialize(deserializer)
        .ok()
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| de::Error::custom("expected a whole number"))
}

/// A limit: a whole number, or "unlimited".
pub(super) mod limit {
    use std::fmt;

    use serde::de::{self, Unexpected, Visitor};
    use serde::{Deserializer, Serializer};

    const UNLIMITED: &str = "unlimited";

    struct Limit;

    impl Visitor<'_> for Limit {
        type Value = Option<u32>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number or \"{UNLIMITED}\"")
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            u32::try_from(number)
                .map(Some)
                .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
        }

        fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
            if word == UNLIMITED {
                Ok(None)
            } else {
                Err(E::invalid_value(Unexpected::Str(word), &self))
            }
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u32>, D::Error> {
        deserializer.deserialize_any(Limit)
    }

    pub(in crate::config) fn serialize<S: Serializer>(
        limit: &Option<u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match limit {
            Some(limit) => serializer.serialize_u32(*limit),
            None => serializer.serialize_str(UNLIMITED),
        }
    }
}

/// A share in percent, or "unlimited".
pub(super) mod percent {
    use serde::{Deserializer, de};

    pub(in crate::config) use super::limit::serialize;

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u32>, D::Error> {
        super::limit::deserialize(deserializer)
            .ok()
            .filter(|percent| percent.is_none_or(|percent| percent <= 100))
            .ok_or_else(|| de::Error::custom("expected a whole number from 0 to 100, or \"unlimited\""))
    }
}

/// A duration above zero, with units: "60s", "6h", "1h 30m".
pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        String::deserialize(deserializer)
            .ok()
            .and_then(|text| humantime::parse_duration(&text).ok())
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| {
                de::Error::custom("expected a time above zero with its unit, such as \"60s\" or \"6h\"")
            })
    }

    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }
}

/// A duration with units, which may be zero: "0s", "1h".
pub(super) mod grace {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de};

    pub(in crate::config) use super::duration::serialize;

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        String::deserialize(deserializer)
            .ok()
            .and_then(|text| humantime::parse_duration(&text).ok())
            .ok_or_else(|| de::Error::custom("expected a time with its unit, such as \"1h\" or \"0s\""))
    }
}

/// A duration with units, which may be zero, for a key that may be absent.
pub(super) mod optional_grace {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        super::grace::deserialize(deserializer).map(Some)
    }

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::grace::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }
}

/// A duration above zero, or "auto" for one that depends on other settings.
pub(super) mod auto_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    const AUTO: &str = "auto";

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(deserializer).unwrap_or_default();
        if text == AUTO {
            return Ok(None);
        }
        let time = humantime::parse_duration(&text)
            .ok()
            .filter(|time| !time.is_zero());
        time.map(Some).ok_or_else(|| {
            de::Error::custom(
                "expected \"auto\", or a time above zero with its unit, such as \"60s\" or \"6h\"",
            )
        })
    }

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::duration::serialize(duration, serializer),
            None => serializer.serialize_str(AUTO),
        }
    }
}

/// A size in bytes, or with a unit: "64KiB", "16MiB". At least 64 KiB, because normal messages exceed a smaller limit.
pub(super) mod size {
    use std::fmt;

    use serde::de::{self, Visitor};
    use serde::{Deserializer, Serializer};

    const UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    const MIN: usize = 64 << 10;

    struct Size;

    impl Visitor<'_> for Size {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size of at least \"64KiB\", such as \"16MiB\", or a number of bytes")
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            usize::try_from(number)
                .ok()
                .filter(|size| *size >= MIN)
                .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let (digits, unit) = UNITS
                .iter()
                .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
                .unwrap_or((text, 1));
            let size = digits
                .trim()
                .parse()
                .ok()
                .and_then(|n: usize| n.checked_mul(unit));
            size.filter(|size| *size >= MIN)
                .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<usize, D::Error> {
        deserializer.deserialize_any(Size)
    }

    pub(in crate::config) fn serialize<S: Serializer>(
        size: &usize,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match UNITS.iter().find(|(_, unit)| size.is_multiple_of(*unit)) {
            Some((name, unit)) => serializer.collect_str(&format_args!("{}{name}", size / unit)),
            None => serializer.collect_str(size),
        }
    }
}

/// An address to listen on, or "off". An empty text is "off" as well.
pub(super) mod listen {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    const OFF: &str = "off";

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text == OFF {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            de::Error::custom(
                "expected an address with its port, such as \"127.0.0.1:9464\" or \"[::]:9464\", or \"off\"",
            )
        })
    }

    pub(in crate::config) fn serialize<S: Serializer>(
        address: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str(OFF),
        }
    }
}

/// Writes the place of the state without the password of a URL.
pub(super) fn without_password<S: Serializer>(state: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match state.parse::<Location>() {
        Ok(location @ Location::Postgres(_)) => serializer.collect_str(&location),
        Ok(Location::File(_)) => serializer.serialize_str(state),
        // It may hold a password.
        Err(_) if state.contains('@') => serializer.serialize_str("(set)"),
        Err(_) => serializer.serialize_str(state),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Table {
        #[serde(with = "super::size")]
        size: usize,
    }

    fn size(value: &str) -> Option<usize> {
        let table: Result<Table, _> = toml::from_str(&format!("size = {value}"));
        table.ok().map(|table| table.size)
    }

    #[test]
    fn a_size_is_read_with_its_unit_or_in_bytes() {
        assert_eq!(size("\"16MiB\""), Some(16 << 20));
        assert_eq!(size("\"64 KiB\""), Some(64 << 10));
        assert_eq!(size("1000000"), Some(1_000_000));
        for wrong in ["\"16MB\"", "\"1KiB\"", "0", "-1", "true", "\"99999999999999GiB\""] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
