//! A stored jsonb, read in place: no tree is built and nothing is copied.

use super::{
    COUNT, HAS_OFFSET, IS_CONTAINER, IS_FALSE, IS_NULL, IS_NUMERIC, IS_TRUE, LENGTH, OBJECT, SCALAR, WORD, word,
};

/// A value within a stored jsonb.
#[derive(Clone, Copy, Debug)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    Text(&'a [u8]),
    /// A numeric as it is stored, without its varlena header.
    Number(&'a [u8]),
    Array(Array<'a>),
    Object(Object<'a>),
}

/// The elements of an array.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a>(Container<'a>);

/// The fields of an object, in `key_order`.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a>(Container<'a>);

#[derive(Clone, Copy, Debug)]
struct Container<'a> {
    /// Elements, or pairs.
    count: usize,
    entries: &'a [u8],
    data: &'a [u8],
}

impl<'a> Json<'a> {
    /// The root of a jsonb, without its varlena header.
    pub fn new(stored: &'a [u8]) -> Json<'a> {
        if word(stored, 0) & SCALAR == 0 {
            return container(stored);
        }
        Array(Container::new(stored)).iter().next().unwrap_or(Json::Null)
    }
}

fn container(stored: &[u8]) -> Json<'_> {
    let container = Container::new(stored);
    if word(stored, 0) & OBJECT != 0 { Json::Object(Object(container)) } else { Json::Array(Array(container)) }
}

impl<'a> Container<'a> {
    fn new(stored: &'a [u8]) -> Container<'a> {
        let header = word(stored, 0);
        let count = (header & COUNT) as usize;
        let entries = if header & OBJECT != 0 { 2 * count } else { count };
        let (entries, data) = stored[WORD..].split_at(entries * WORD);
        Container { count, entries, data }
    }

    /// Where the value of entry `i` ends, and its type, when it begins at `start`.
    #[inline]
    fn entry(&self, i: usize, start: usize) -> (usize, u32) {
        let entry = word(self.entries, i * WORD);
        let length = (entry & LENGTH) as usize;
        let end = if entry & HAS_OFFSET != 0 { length } else { start + length };
        (end, entry & !(HAS_OFFSET | LENGTH))
    }

    #[inline]
    fn value(&self, start: usize, end: usize, kind: u32) -> Json<'a> {
        match kind {
            0 => Json::Text(&self.data[start..end]),
            IS_NUMERIC => Json::Number(without_header(&self.data[start.next_multiple_of(WORD)..end])),
            IS_TRUE => Json::Bool(true),
            IS_FALSE => Json::Bool(false),
            IS_CONTAINER => container(&self.data[start.next_multiple_of(WORD)..end]),
            IS_NULL => Json::Null,
            _ => unreachable!("jsonb has no other types of values"),
        }
    }
}

/// A varlena's header has one byte or four.
fn without_header(varlena: &[u8]) -> &[u8] {
    let short = match varlena.first() {
        Some(first) if cfg!(target_endian = "little") => first & 1 != 0,
        Some(first) => first & 0x80 != 0,
        None => false,
    };
    &varlena[if short { 1 } else { WORD }..]
}

impl<'a> Array<'a> {
    pub fn len(self) -> usize {
        self.0.count
    }

    pub fn is_empty(self) -> bool {
        self.0.count == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Json<'a>> {
        let Array(all) = self;
        (0..all.count).scan(0, move |start, i| {
            let (end, kind) = all.entry(i, *start);
            let value = all.value(*start, end, kind);
            *start = end;
            Some(value)
        })
    }
}

impl<'a> Object<'a> {
    /// Keys and values.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Json<'a>)> {
        let Object(all) = self;
        // The values begin where the keys end.
        let values = (0..all.count).fold(0, |start, i| all.entry(i, start).0);
        (0..all.count).scan((0, values), move |(key, value), i| {
            let (key_end, _) = all.entry(i, *key);
            let (value_end, kind) = all.entry(all.count + i, *value);
            let pair = (&all.data[*key..key_end], all.value(*value, value_end, kind));
            (*key, *value) = (key_end, value_end);
            Some(pair)
        })
    }
}
