//! What the trigger on `updated_at` adds to an UPDATE.

use crate::Result;
use crate::data::{Scale, begin_in_context, create_extension};
use crate::measure::{Runs, alternate, time};
use crate::report::{Bound, Line, Section};
use postgres::Client;

/// The table, and the function of its trigger: none where empty.
const CONTENDERS: [(&str, &str); 6] = [
    ("bench.rows", ""),
    ("bench.rows", "set_updated_at_column()"),
    ("bench.rows", "moddatetime(updated_at)"),
    ("bench.rows", "document.set_updated_at_column()"),
    ("bench.rows_with_user", ""),
    ("bench.rows_with_user", "set_updated_at_column()"),
];

pub fn measure(superuser: &mut Client, scale: &Scale) -> Result<Section> {
    eprintln!("==> updates");
    let has_moddatetime = create_extension(superuser, "moddatetime")?;
    let contenders = CONTENDERS.map(|(table, function)| match function {
        "moddatetime(updated_at)" if !has_moddatetime => (table, ""),
        _ => (table, function),
    });
    let [nothing, ours, moddatetime, document, nothing_with_user, with_user] =
        alternate::<6>(|i| update(superuser, contenders[i]))?;

    let added = |runs: &Runs, without: &Runs| runs.net_of(without, scale.updates);
    let ours = Line::new("set_updated_at_column()", added(&ours, &nothing));
    let document = Line::new("  the document's, in plpgsql", added(&document, &nothing));
    let with_user = Line::new("  ours, where the table has updated_by too", added(&with_user, &nothing_with_user));
    let lines = if has_moddatetime {
        let moddatetime = added(&moddatetime, &nothing);
        vec![
            ours.against("moddatetime", moddatetime).bound(Bound::Ratio(1.0)),
            document.against("moddatetime", moddatetime),
            with_user.against("moddatetime", moddatetime),
        ]
    } else {
        vec![ours, document, with_user]
    };
    Ok(Section { title: "What a BEFORE UPDATE trigger on updated_at adds to each row", lines })
}

/// Every contender updates the same rows in the same pages: the change is rolled back and the space freed at once.
fn update(superuser: &mut Client, (table, function): (&str, &str)) -> Result<f64> {
    begin_in_context(superuser)?;
    if !function.is_empty() {
        superuser.batch_execute(&format!(
            "CREATE TRIGGER set_updated_at BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}"
        ))?;
    }
    let nanoseconds = time(superuser, &format!("UPDATE {table} SET quantity = quantity + 1"))?;
    superuser.batch_execute("ROLLBACK")?;
    superuser.batch_execute(&format!("VACUUM (TRUNCATE false) {table}"))?;
    Ok(nanoseconds)
}
