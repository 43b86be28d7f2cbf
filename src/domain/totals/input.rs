//! Reading single values of the input, each with its rule.

use crate::domain::decimal::{Decimal, NotDecimal};
use crate::domain::jsonb::read::{Array, Json, Object};
use crate::domain::totals::error::{At, Code, Fault};
use crate::domain::totals::model::{LARGEST_QUANTITY, Minor, Part, QUANTITY_PLACES};

/// So many characters of a key that is not known.
const SHOWN: usize = 64;

pub type Read<T> = Result<T, Fault>;

/// A value that is there: JSON's null counts as absent.
pub fn given(value: Json) -> Option<Json> {
    (!matches!(value, Json::Null)).then_some(value)
}

/// The message shows the beginning of it: a key can have megabytes.
pub fn unknown<T>(key: &[u8]) -> Read<T> {
    let shown: String = String::from_utf8_lossy(&key[..key.len().min(4 * SHOWN)]).chars().take(SHOWN).collect();
    Err(Fault::new(Code::UnknownKey).within(&shown))
}

pub fn object(value: Json) -> Read<Object> {
    match value {
        Json::Object(object) => Ok(object),
        _ => Err(Fault::because(Code::Type, "must be an object")),
    }
}

fn array(value: Json) -> Read<Array> {
    match value {
        Json::Array(array) => Ok(array),
        _ => Err(Fault::because(Code::Type, "must be an array")),
    }
}

pub fn boolean(value: Option<Json>) -> Read<bool> {
    match value {
        None => Ok(false),
        Some(Json::Bool(value)) => Ok(value),
        Some(_) => Err(Fault::because(Code::Type, "must be true or false")),
    }
}

/// A text, or something else with this code.
pub fn text<'a>(value: Option<Json<'a>>, otherwise: Code) -> Read<&'a [u8]> {
    match value {
        Some(Json::Text(text)) => Ok(text),
        _ => Err(Fault::new(otherwise)),
    }
}

pub fn id<'a>(value: Option<Json<'a>>) -> Read<&'a [u8]> {
    match value {
        None | Some(Json::Text([])) => Err(Fault::new(Code::IdMissing)),
        Some(Json::Text(text)) => Ok(text),
        Some(_) => Err(Fault::because(Code::Type, "an id must be a text")),
    }
    .at("id")
}

/// One of some words, with what stands for no word.
pub fn word<T>(value: Option<Json>, absent: T, code: Code, known: impl FnOnce(&[u8]) -> Option<T>) -> Read<T> {
    match value {
        None => Ok(absent),
        Some(Json::Text(text)) => known(text).ok_or_else(|| Fault::new(code)),
        Some(_) => Err(Fault::new(code)),
    }
}

/// The elements of a list that may be absent, of at most so many.
pub fn list<'a, T>(
    value: Option<Json<'a>>,
    key: &'static str,
    most: Option<(usize, Code)>,
    mut read: impl FnMut(Json<'a>) -> Read<T>,
) -> Read<Vec<T>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let array = array(value).at(key)?;
    if let Some((most, code)) = most
        && array.len() > most
    {
        return Err(Fault::new(code).within(key));
    }
    let mut all = Vec::with_capacity(array.len());
    for (i, element) in array.iter().enumerate() {
        all.push(read(element).at_index(i).at(key)?);
    }
    Ok(all)
}

pub fn decimal(value: Json) -> Read<Decimal> {
    let decimal = match value {
        Json::Text(text) => Decimal::parse(text),
        Json::Number(stored) => Decimal::from_numeric(stored),
        _ => Err(NotDecimal::NotANumber),
    };
    decimal.map_err(|why| {
        Fault::new(match why {
            NotDecimal::NotANumber => Code::NotANumber,
            NotDecimal::Exponent => Code::FloatNotAllowed,
            NotDecimal::TooFine => Code::Scale,
            NotDecimal::TooLarge => return Fault::because(Code::Range, "a number has at most 18 digits"),
        })
    })
}

/// A decimal that has to be there.
pub fn required(value: Option<Json>) -> Read<Decimal> {
    decimal(value.unwrap_or(Json::Null))
}

/// Above zero, with at most 5 decimals; 1 where absent.
pub fn quantity(value: Option<Json>) -> Read<Decimal> {
    let Some(value) = value else { return Ok(Decimal::ONE) };
    let quantity = quantity_or_zero(decimal(value)?)?;
    if quantity == Decimal::ZERO { Err(Fault::new(Code::Quantity)) } else { Ok(quantity) }
}

/// A quantity that may be nothing, as one that came back so far.
pub fn quantity_or_zero(quantity: Decimal) -> Read<Decimal> {
    if quantity.places() > QUANTITY_PLACES {
        return Err(Fault::because(Code::Scale, "a quantity has at most 5 decimals"));
    }
    if quantity.mantissa() < 0 {
        return Err(Fault::new(Code::Quantity));
    }
    match Decimal::units(quantity, QUANTITY_PLACES) {
        Some(units) if units < LARGEST_QUANTITY * 100_000 => Ok(quantity),
        _ => Err(Fault::because(Code::Range, "a quantity is below 100,000,000")),
    }
}

pub fn percent(value: Json) -> Read<Decimal> {
    let percent = decimal(value)?;
    let within = percent.mantissa() >= 0 && percent.units(6).is_some_and(|units| units <= 100_000_000);
    if within { Ok(percent) } else { Err(Fault::new(Code::PercentRange)) }
}

/// Money that is not negative and no finer than its currency.
pub fn money(value: Json, places: u8) -> Read<Minor> {
    let amount = decimal(value)?;
    if amount.places() > places {
        return Err(Fault::because(Code::Scale, "an amount is no finer than its currency"));
    }
    if amount.mantissa() < 0 {
        return Err(Fault::new(Code::NegativeAmount));
    }
    amount.units(places).ok_or_else(|| Fault::because(Code::Range, "a number has at most 18 digits"))
}

/// Exactly one of percent and amount.
pub fn part(percent_value: Option<Json>, amount: Option<Json>, places: u8) -> Read<Part> {
    match (percent_value, amount) {
        (Some(value), None) => Ok(Part::Percent(percent(value).at("percent")?)),
        (None, Some(value)) => Ok(Part::Amount(money(value, places).at("amount")?)),
        _ => Err(Fault::new(Code::PercentXorAmount)),
    }
}

/// Ids of one list, to be found again.
pub struct Ids<'a>(Vec<(&'a [u8], u32)>);

impl<'a> Ids<'a> {
    /// Raises on an id that stands there twice.
    pub fn new(ids: impl Iterator<Item = &'a [u8]>, key: &str) -> Read<Ids<'a>> {
        let mut sorted: Vec<(&[u8], u32)> = ids.zip(0..).collect();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            None => Ok(Ids(sorted)),
            Some(pair) => {
                let twice = Err(Fault::new(Code::IdDuplicate).within("id"));
                twice.at_index(pair[1].1 as usize).at(key)
            }
        }
    }

    /// The ids in a list, each at most once: their indexes, ascending, and where in the list they stand.
    pub fn listed(&self, value: Option<Json>, key: &'static str, code: Code) -> Read<Vec<Listed>> {
        let mut found = list(value, key, None, |element| {
            let id = match element {
                Json::Text(id) => id,
                _ => return Err(Fault::because(Code::Type, "an id must be a text")),
            };
            let index = self.0.binary_search_by_key(&id, |known| known.0).map_err(|_| Fault::new(code))?;
            Ok(Listed { index: self.0[index].1, place: 0 })
        })?;
        found.iter_mut().enumerate().for_each(|(place, listed)| listed.place = place);
        found.sort_unstable();
        match found.windows(2).find(|pair| pair[0].index == pair[1].index) {
            None => Ok(found),
            Some(pair) => Err(Fault::new(Code::IdDuplicate)).at_index(pair[1].place).at(key),
        }
    }
}

/// An id in a list of ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Of what it names.
    pub index: u32,
    /// In the list.
    pub place: usize,
}
