//! What one call of a function costs, net of a C function that does nothing.

use crate::Result;
use crate::data::{EMPLOYEE, Scale, Sessions, begin_in_context};
use crate::measure::{Runs, alternate, time};
use crate::report::{Bound, Line, Section};

pub fn measure(Sessions { app, .. }: &mut Sessions, scale: &Scale) -> Result<Section> {
    eprintln!("==> function calls");
    begin_in_context(app)?;
    // count() evaluates the function once a row and does not look at the value.
    let many = |call: &str| format!("SELECT count({call}) FROM bench.calls");
    let few = |call: &str| format!("SELECT count({call}) FROM bench.few_calls");
    let three = format!("('{EMPLOYEE}'::uuid, 'orders', 'read')");
    let native = [
        many("bench.empty()"),
        many("get_current_tenant_id()"),
        many("bench.empty('orders', 'read')"),
        many("has_permission('orders', 'read')"),
        many("permitted_tenant_id('orders', 'read')"),
        many("bench.empty(resource, action)"),
        many("has_permission(resource, action)"),
        many(&format!("bench.empty{three}")),
        many(&format!("has_permission{three}")),
    ];
    let [nothing, tenant, two, permission, permitted, columns, of_columns, user, of_user] =
        alternate::<9>(|i| time(app, &native[i]))?;
    let plpgsql = [
        few("bench.empty()"),
        few("document.get_current_tenant_id()"),
        few("document.has_permission(auth.uid(), 'orders', 'read')"),
        few("document.has_permission(auth.uid(), resource, action)"),
    ];
    let [few_nothing, document_tenant, document_permission, document_of_columns] =
        alternate::<4>(|i| time(app, &plpgsql[i]))?;
    app.batch_execute("ROLLBACK")?;

    let native = |what, runs: &Runs, empty| Line::new(what, runs.net_of(empty, scale.calls));
    let document = |runs: &Runs| runs.net_of(&few_nothing, scale.few_calls);
    Ok(Section {
        title: "One call, net of an empty C function",
        lines: vec![
            native("get_current_tenant_id()", &tenant, &nothing)
                .against("the document's", document(&document_tenant))
                .bound(Bound::Nanoseconds(40.0)),
            native("has_permission('orders', 'read')", &permission, &two)
                .against("the document's", document(&document_permission))
                .bound(Bound::Nanoseconds(100.0)),
            native("has_permission(column, column)", &of_columns, &columns)
                .against("the document's", document(&document_of_columns))
                .bound(Bound::Nanoseconds(100.0)),
            native("has_permission(current user, 'orders', 'read')", &of_user, &user)
                .against("the document's", document(&document_permission))
                .bound(Bound::Nanoseconds(100.0)),
            native("permitted_tenant_id('orders', 'read')", &permitted, &two)
                .against("the document's", document(&document_permission)),
        ],
    })
}
