//! Currencies of ISO 4217 and how many places their amounts have.

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Currency {
    /// Its amounts have so many places.
    Places(u8),
    /// Metals, units of account, testing: the list gives no minor unit.
    WithoutMinorUnit,
}

const NO_PLACES: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF";
const THREE_PLACES: &str = "BHD IQD JOD KWD LYD OMR TND";
const FOUR_PLACES: &str = "CLF UYW";
const WITHOUT: &str = "XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX";
const TWO_PLACES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD \
    CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD \
    HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR \
    MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD \
    SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG \
    YER ZAR ZMW ZWG";
/// Left the list in 2023 to 2026 and still stand in books that are open.
const FORMER: &str = "ANG BGN CUC HRK SLL ZWL";

/// The list, one group after the other, the most used first.
const GROUPS: [(&str, Currency); 6] = [
    (TWO_PLACES, Currency::Places(2)),
    (NO_PLACES, Currency::Places(0)),
    (THREE_PLACES, Currency::Places(3)),
    (FOUR_PLACES, Currency::Places(4)),
    (FORMER, Currency::Places(2)),
    (WITHOUT, Currency::WithoutMinorUnit),
];

/// None for what is no code.
pub fn find(code: &[u8]) -> Option<Currency> {
    // Where the two most used stand is known without looking.
    if code == b"EUR" || code == b"USD" {
        return Some(Currency::Places(2));
    }
    all().find(|(listed, _)| listed.as_bytes() == code).map(|(_, currency)| currency)
}

/// Every code with its meaning.
pub fn all() -> impl Iterator<Item = (&'static str, Currency)> {
    GROUPS.into_iter().flat_map(|(codes, currency)| codes.split_ascii_whitespace().map(move |code| (code, currency)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_three_capitals_and_stand_once() {
        let codes: Vec<&str> = all().map(|(code, _)| code).collect();
        assert!(codes.iter().all(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase())));
        assert_eq!(codes.iter().collect::<HashSet<_>>().len(), codes.len());
    }

    #[test]
    fn the_specification_s_currencies_have_their_places() {
        let places = |code: &str| find(code.as_bytes());
        assert_eq!(places("JPY"), Some(Currency::Places(0)));
        assert_eq!(places("KWD"), Some(Currency::Places(3)));
        assert_eq!([places("USD"), places("EUR"), places("INR")], [Some(Currency::Places(2)); 3]);
        assert_eq!(places("CLF"), Some(Currency::Places(4)));
        assert_eq!(places("XXX"), Some(Currency::WithoutMinorUnit));
        assert_eq!([places("ZZZ"), places("usd"), places(""), places("US")], [None; 4]);
    }
}
