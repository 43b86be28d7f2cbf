//! What can be wrong with the input: one code of the specification each, and where it is.

use std::fmt;

/// The codes, their rules and what to do: the whole list.
macro_rules! codes {
    ($($code:ident $name:literal $rule:literal $hint:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($code),* }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$code),*];

            pub fn name(self) -> &'static str {
                match self { $(Code::$code => $name),* }
            }

            /// What it forbids.
            pub fn rule(self) -> &'static str {
                match self { $(Code::$code => $rule),* }
            }

            /// What to do about it.
            pub fn hint(self) -> &'static str {
                match self { $(Code::$code => $hint),* }
            }
        }
    };
}

codes! {
    Currency "E_CURRENCY" "the currency must be a code of ISO 4217"
        "Give \"currency\" as three capitals, such as \"EUR\".";
    MinorUnit "E_MINOR_UNIT" "the minor unit must be a whole number from 0 to 6"
        "Leave \"minor_unit\" out to take the currency's own; a code without one, as XAU and XXX, needs it.";
    RoundingMode "E_ROUNDING_MODE" "unknown rounding mode"
        "Use half_even, half_up, down or up.";
    TaxLevel "E_TAX_LEVEL" "unknown level of rounding taxes"
        "Use line or order.";
    TooManyLines "E_TOO_MANY_LINES" "an order has at most 2,500 lines"
        "Split the order.";
    TooManyDiscounts "E_TOO_MANY_DISCOUNTS" "an order has at most 100 discounts"
        "Leave out the discounts that do not apply.";
    TooManyTaxes "E_TOO_MANY_TAXES" "an item has at most 10 taxes"
        "Exempt the item from taxes that do not apply, or give taxes the scope \"line\" and list those that do.";
    IdMissing "E_ID_MISSING" "an id is required"
        "Give each line, discount, tax and charge an \"id\", a text that is not empty.";
    IdDuplicate "E_ID_DUPLICATE" "an id stands there twice"
        "Ids differ within a list.";
    NotANumber "E_NOT_A_NUMBER" "must be a decimal number"
        "Write it as \"12.50\" or as the JSON number 12.50: digits, with a point before the decimals.";
    FloatNotAllowed "E_FLOAT_NOT_ALLOWED" "numbers with an exponent are not exact amounts"
        "Write it with all its digits and without an exponent, as \"12.50\".";
    Scale "E_SCALE" "has too many decimals"
        "Round it: money to the places of its currency, a quantity to 5, a unit price or percentage to 6.";
    PercentXorAmount "E_PERCENT_XOR_AMOUNT" "must have either percent or amount"
        "Give one of \"percent\" and \"amount\", not both.";
    PercentXorPerUnit "E_PERCENT_XOR_PER_UNIT" "must have either percent or per_unit"
        "Give one of \"percent\" and \"per_unit\", not both.";
    PercentRange "E_PERCENT_RANGE" "a percentage lies between 0 and 100"
        "Twenty percent is \"20\".";
    NegativeAmount "E_NEGATIVE_AMOUNT" "an amount cannot be negative here"
        "Give it without a sign. What lowers the price is a discount.";
    NegativePrice "E_NEGATIVE_PRICE" "a price, with its modifiers, cannot be negative"
        "What is paid back is a refund: see calculate_refund().";
    CompoundPerUnit "E_COMPOUND_PER_UNIT" "a tax per unit cannot be compound"
        "Leave \"compound\" out.";
    Scope "E_SCOPE" "wrong scope"
        "The scope is order or line; lines list discounts and taxes of scope line, charges list taxes with a percent.";
    InclusiveAfterAdditive "E_INCLUSIVE_AFTER_ADDITIVE" "inclusive taxes come before additive ones"
        "Put the taxes with \"inclusive\" first.";
    Quantity "E_QUANTITY" "a quantity must be above zero"
        "Leave out lines without a quantity. What comes back is a refund: see calculate_refund().";
    Range "E_RANGE" "out of range"
        "Subtotal and total are at most 9,999,999,999 minor units, a quantity is below 100,000,000, a number has at most 18 digits.";
    UnknownTax "E_UNKNOWN_TAX" "there is no such tax"
        "List ids that stand in \"taxes\" of the order.";
    UnknownDiscount "E_UNKNOWN_DISCOUNT" "there is no such discount"
        "List ids that stand in \"discounts\" of the order.";
    Phase "E_PHASE" "unknown phase of a charge"
        "Use subtotal or total.";
    TotalPhaseTaxed "E_TOTAL_PHASE_TAXED" "a charge of phase total cannot be taxed"
        "Leave \"taxable\" and \"taxes\" out, or use the phase subtotal.";
    Base "E_BASE" "unknown base of a percentage"
        "Use post_discount or pre_discount, for a tip also total. A charge of phase total has its own base.";
    ReturnQty "E_RETURN_QTY" "more comes back than was sold"
        "returned_before and return_quantity together are at most the quantity sold, what is refunded at most what was paid.";
    UnknownKey "E_UNKNOWN_KEY" "unknown key"
        "Check the spelling. The function's comment lists the keys: \\df+ calculate_order_total";
    Type "E_TYPE" "wrong type of JSON value"
        "The function's comment says which keys are objects, arrays, texts and booleans.";
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: Code,
    /// Where: `lines[3].quantity`. Empty for the input as a whole.
    pub path: String,
    /// What the code says, more closely.
    pub rule: &'static str,
}

impl Fault {
    pub fn new(code: Code) -> Fault {
        Fault { code, path: String::new(), rule: code.rule() }
    }

    pub fn because(code: Code, rule: &'static str) -> Fault {
        Fault { code, path: String::new(), rule }
    }

    /// The same, of something within `key`.
    pub fn within(mut self, key: &str) -> Fault {
        self.path = match self.path.as_bytes() {
            [] => key.to_owned(),
            [b'[', ..] => format!("{key}{}", self.path),
            _ => format!("{key}.{}", self.path),
        };
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let place = if self.path.is_empty() { "the input" } else { &self.path };
        write!(f, "{}: {}, at {place}", self.code.name(), self.rule)
    }
}

/// Says where a fault is.
pub trait At {
    fn at(self, key: &str) -> Self;
    fn at_index(self, index: usize) -> Self;
}

impl<T> At for Result<T, Fault> {
    fn at(self, key: &str) -> Self {
        self.map_err(|fault| fault.within(key))
    }

    fn at_index(self, index: usize) -> Self {
        self.map_err(|fault| fault.within(&format!("[{index}]")))
    }
}

/// Why a calculation did not come to an end.
#[derive(Debug)]
pub enum Failure {
    /// The integers were too small: larger ones will do.
    Overflow,
    Fault(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::Fault(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_one_writes_them() {
        let fault: Result<(), Fault> = Err(Fault::new(Code::Scale));
        let fault = fault.at("quantity").at_index(3).at("lines").unwrap_err();
        assert_eq!(fault.to_string(), "E_SCALE: has too many decimals, at lines[3].quantity");
        assert_eq!(Fault::new(Code::Type).to_string(), "E_TYPE: wrong type of JSON value, at the input");
    }
}
