//! A stored jsonb of any depth, written front to back.

use super::{IS_CONTAINER, OBJECT, TooLarge, Value, WORD, append, entry, pad, put};

/// The keys of objects that are written again and again: in `key_order`, different.
pub struct Keys {
    count: usize,
    entries: Vec<u8>,
    names: Vec<u8>,
    too_large: bool,
}

impl Keys {
    pub fn new<'k>(keys: impl ExactSizeIterator<Item = &'k [u8]>) -> Keys {
        let (count, mut too_large) = (keys.len(), false);
        let mut names = Vec::new();
        let mut entries = vec![0; count * WORD];
        for (i, key) in keys.enumerate() {
            names.extend_from_slice(key);
            too_large |= entry(&mut entries, i * WORD, i, 0, key.len(), names.len()).is_err();
        }
        Keys { count, entries, names, too_large }
    }
}

/// Writes one jsonb. The first four bytes are left for the varlena header.
pub struct Writer {
    bytes: Vec<u8>,
    too_large: bool,
}

/// A container whose values are being written, in their order.
pub struct Open {
    /// Number of the next entry, and where the first one is.
    next: usize,
    entries: usize,
    data: usize,
}

impl Writer {
    pub fn with_capacity(bytes: usize) -> Writer {
        let mut all = Vec::with_capacity(bytes);
        all.resize(WORD, 0);
        Writer { bytes: all, too_large: false }
    }

    /// An object: its values follow, one for each key.
    pub fn object(&mut self, keys: &Keys) -> Open {
        self.too_large |= keys.too_large;
        let header = self.header(keys.count as u32 | OBJECT);
        let entries = self.bytes.len();
        self.bytes.extend_from_slice(&keys.entries);
        self.bytes.resize(header + WORD + 2 * keys.count * WORD, 0);
        let data = self.bytes.len();
        self.bytes.extend_from_slice(&keys.names);
        Open { next: keys.count, entries, data }
    }

    /// An array: its `count` elements follow.
    pub fn array(&mut self, count: usize) -> Open {
        const ARRAY: u32 = 0x4000_0000;
        self.header(count as u32 | ARRAY);
        let entries = self.bytes.len();
        self.bytes.resize(entries + count * WORD, 0);
        Open { next: 0, entries, data: self.bytes.len() }
    }

    fn header(&mut self, word: u32) -> usize {
        pad(&mut self.bytes);
        let at = self.bytes.len();
        self.bytes.resize(at + WORD, 0);
        put(&mut self.bytes, at, word);
        at
    }

    /// A text that `write` appends.
    pub fn text(&mut self, open: &mut Open, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        write(&mut self.bytes);
        self.entry(open, 0, before);
    }

    pub fn value(&mut self, open: &mut Open, value: &Value) {
        let before = self.bytes.len();
        let kind = append(&mut self.bytes, value);
        self.entry(open, kind, before);
    }

    /// One container, which `write` opens and fills.
    pub fn nested(&mut self, open: &mut Open, write: impl FnOnce(&mut Writer)) {
        let before = self.bytes.len();
        write(self);
        self.entry(open, IS_CONTAINER, before);
    }

    fn entry(&mut self, open: &mut Open, kind: u32, before: usize) {
        let (length, end) = (self.bytes.len() - before, self.bytes.len() - open.data);
        let at = open.entries + open.next * WORD;
        self.too_large |= entry(&mut self.bytes, at, open.next, kind, length, end).is_err();
        open.next += 1;
    }

    pub fn finish(self) -> Result<Vec<u8>, TooLarge> {
        if self.too_large { Err(TooLarge) } else { Ok(self.bytes) }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::domain::jsonb::read::Json;
    use crate::domain::jsonb::{key_order, numeric};
    use serde_json::Value as Serde;

    /// The bytes of jsonb for a JSON text's tree.
    pub fn stored(tree: &Serde) -> Vec<u8> {
        let mut writer = Writer::with_capacity(64);
        match tree {
            Serde::Object(_) | Serde::Array(_) => write(&mut writer, tree),
            scalar => {
                // One element, marked as such.
                let mut open = writer.array(1);
                put(&mut writer.bytes, WORD, 1 | 0x5000_0000);
                element(&mut writer, &mut open, scalar);
            }
        }
        writer.finish().unwrap()
    }

    fn write(writer: &mut Writer, tree: &Serde) {
        match tree {
            Serde::Object(map) => {
                let mut fields: Vec<_> = map.iter().collect();
                fields.sort_by(|a, b| key_order(a.0.as_bytes(), b.0.as_bytes()));
                let keys = Keys::new(fields.iter().map(|(key, _)| key.as_bytes()));
                let mut open = writer.object(&keys);
                fields.iter().for_each(|(_, value)| element(writer, &mut open, value));
            }
            Serde::Array(array) => {
                let mut open = writer.array(array.len());
                array.iter().for_each(|value| element(writer, &mut open, value));
            }
            _ => unreachable!("scalars are elements"),
        }
    }

    fn element(writer: &mut Writer, open: &mut Open, value: &Serde) {
        match value {
            Serde::Null => writer.value(open, &Value::Null),
            Serde::Bool(value) => writer.value(open, &Value::Bool(*value)),
            Serde::String(text) => writer.value(open, &Value::Text(text.as_bytes())),
            Serde::Number(number) => writer.value(open, &Value::Numeric(&numeric(&number.to_string()))),
            container => writer.nested(open, |writer| write(writer, container)),
        }
    }

    /// The tree of a stored jsonb; numbers as texts.
    pub fn tree(json: Json) -> Serde {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match json {
            Json::Null => Serde::Null,
            Json::Bool(value) => value.into(),
            Json::Text(bytes) => text(bytes).into(),
            Json::Number(stored) => {
                let decimal = crate::domain::decimal::Decimal::from_numeric(stored).unwrap();
                let mut written = Vec::new();
                crate::domain::decimal::write_units(&mut written, decimal.mantissa(), decimal.places());
                text(&written).into()
            }
            Json::Array(array) => array.iter().map(tree).collect(),
            Json::Object(object) => object.iter().map(|(key, value)| (text(key), tree(value))).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let long: Vec<Serde> = (0..100).map(|i| serde_json::json!({"n": i.to_string(), "odd": i % 2 == 1})).collect();
        let many: serde_json::Map<_, _> = (0..70).map(|i| (format!("key {i}"), Serde::from("x".repeat(i)))).collect();
        for value in [
            serde_json::json!({}),
            serde_json::json!([]),
            serde_json::json!({"a": null, "bb": [true, "x", {"c": []}], "z": "ü"}),
            Serde::from(long),
            Serde::from(many),
            Serde::from("text"),
            Serde::Null,
        ] {
            let bytes = stored(&value);
            assert_eq!(tree(Json::new(&bytes[WORD..])), value);
        }
    }

    #[test]
    fn numbers_are_read_from_their_digits() {
        let value: Serde =
            serde_json::from_str(r#"{"a": 12.50, "b": -3, "c": 0.0001, "d": [123456789.123456]}"#).unwrap();
        let read = serde_json::json!({"a": "12.5", "b": "-3", "c": "0.0001", "d": ["123456789.123456"]});
        assert_eq!(tree(Json::new(&stored(&value)[WORD..])), read);
    }

    #[test]
    fn an_object_is_the_same_from_either_encoder() {
        let fields: Vec<(&[u8], Value)> =
            vec![(b"a", Value::Integer(7)), (b"b", Value::Bool(true)), (b"cc", Value::Text(b"xyz"))];
        let mut writer = Writer::with_capacity(64);
        let mut open = writer.object(&Keys::new(fields.iter().map(|field| field.0)));
        fields.iter().for_each(|(_, value)| writer.value(&mut open, value));
        assert_eq!(writer.finish(), super::super::object(&fields));
    }
}
