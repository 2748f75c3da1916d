//! JSON that all readers read alike: no key twice in an object, no deeper than asked for, and no more values.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What is left to some documents together: seven bytes of JSON can be an object of 600 bytes in memory.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    left: usize,
}

impl Budget {
    /// So many values: objects, arrays, and what is in them.
    pub(crate) const fn new(values: usize) -> Self {
        Self {
            max: values,
            left: values,
        }
    }
}

/// Reads one document and nothing behind it. An object or array of `depth` 1 holds neither.
pub(crate) fn parse(
    bytes: &[u8],
    depth: usize,
    budget: &mut Budget,
) -> Result<Value, serde_json::Error> {
    let mut decoder = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth, budget }.deserialize(&mut decoder)?;
    decoder.end()?;
    Ok(value)
}

struct Strict<'a> {
    depth: usize,
    budget: &'a mut Budget,
}

impl Strict<'_> {
    /// What an object or array may hold.
    fn inner<E: serde::de::Error>(&self) -> Result<usize, E> {
        self.depth
            .checked_sub(1)
            .ok_or_else(|| E::custom("objects and arrays lie too deep in each other"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<Value, D::Error> {
        let Some(left) = self.budget.left.checked_sub(1) else {
            let max = self.budget.max;
            let why = format_args!("more than {max} values in all documents of the header");
            return Err(D::Error::custom(why));
        };
        self.budget.left = left;
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let depth = self.inner()?;
        let mut array = Vec::new();
        loop {
            let budget = &mut *self.budget;
            match elements.next_element_seed(Strict { depth, budget })? {
                Some(element) => array.push(element),
                None => return Ok(Value::Array(array)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.inner()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom("a key stands twice in an object"));
            }
            let budget = &mut *self.budget;
            let value = entries.next_value_seed(Strict { depth, budget })?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::Budget;

    fn parse(bytes: &[u8], depth: usize) -> Result<Value, serde_json::Error> {
        super::parse(bytes, depth, &mut Budget::new(100))
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_at_any_depth() {
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"[{"a":{"b":1,"c":2,"b":1}}]"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            let why = parse(twice.as_bytes(), 8).unwrap_err().to_string();
            assert!(why.contains("stands twice"), "{twice}: {why}");
        }
        parse(br#"{"a":{"a":1},"b":[{"a":1},{"a":1}]}"#, 8).unwrap();
    }

    #[test]
    fn depth_is_bounded_exactly() {
        for (text, depth) in [("1", 0), ("[]", 1), ("[{}]", 2), (r#"{"a":[[]]}"#, 3)] {
            parse(text.as_bytes(), depth).unwrap();
            if let Some(less) = depth.checked_sub(1) {
                parse(text.as_bytes(), less).unwrap_err();
            }
        }
        let deep = "[".repeat(100_000);
        parse(deep.as_bytes(), 16).unwrap_err();
    }

    #[test]
    fn values_of_all_documents_are_counted_exactly() {
        for (text, values) in [
            ("1", 1),
            ("[]", 1),
            (r#"{"a":1,"b":[2,{}]}"#, 5),
            (r#"[{"a":{"a":{}}}]"#, 4),
        ] {
            let read = |values| {
                let mut budget = Budget::new(values);
                for _ in 0..2 {
                    super::parse(text.as_bytes(), 8, &mut budget)?;
                }
                Ok::<_, serde_json::Error>(())
            };
            read(2 * values).unwrap();
            let why = read(2 * values - 1).unwrap_err().to_string();
            assert!(why.contains("values in all documents"), "{why}");
        }
    }

    #[test]
    fn one_document_and_nothing_behind_it() {
        parse(b"{}\n", 1).unwrap();
        for more in [&b"{}{}"[..], b"{} x", b"{}\0", b""] {
            parse(more, 1).unwrap_err();
        }
    }
}
