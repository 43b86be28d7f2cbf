//! What one order comes to: the native function against the simplest PL/pgSQL that does the same.

use crate::Result;
use crate::data::{Scale, first_row};
use crate::measure::{alternate, time};
use crate::report::{Bound, Line, Section};
use postgres::Client;

/// Lines of an order, what the report calls it, and what is promised.
const SIZES: [(usize, &str, Bound); 4] = [
    (1, "calculate_order_total(), 1 line", Bound::None),
    (5, "  5 lines", Bound::None),
    (50, "  50 lines", Bound::Ratio(0.1)),
    (500, "  500 lines", Bound::None),
];

/// How often the native function gets each order while PL/pgSQL gets it once: else the rest of the query would weigh more.
const TURNS: usize = 20;

pub fn measure(superuser: &mut Client, scale: &Scale) -> Result<Section> {
    eprintln!("==> order totals");
    same_results(superuser)?;
    let mut lines = Vec::new();
    for (size, what, bound) in SIZES {
        // The result has to be made, and is not looked at.
        let calls = |call: &str, turns: usize| {
            format!("SELECT count({call}) FROM bench.order_inputs, generate_series(1, {turns}) WHERE lines = {size}")
        };
        let calls = [
            calls("input", TURNS),
            calls("calculate_order_total(input)", TURNS),
            calls("input", 1),
            calls("bench.order_total(input)", 1),
        ];
        let [nothing, native, few_nothing, plpgsql] = alternate::<4>(|i| time(superuser, &calls[i]))?;
        let count = scale.order_lines / size;
        lines.push(
            Line::new(what, native.net_of(&nothing, count * TURNS))
                .against("PL/pgSQL", plpgsql.net_of(&few_nothing, count))
                .bound(bound),
        );
    }
    Ok(Section { title: "What an order comes to: one tax, no discount", lines })
}

/// What is compared must be the same work.
fn same_results(superuser: &mut Client) -> Result<()> {
    let differ =
        "SELECT count(*) FROM bench.order_inputs WHERE calculate_order_total(input) <> bench.order_total(input)";
    match first_row(superuser, differ)?.as_slice() {
        [Some(none)] if none == "0" => Ok(()),
        other => Err(format!("calculate_order_total() and PL/pgSQL disagree about {other:?} orders").into()),
    }
}
