//! `thorbis.erase_subject`: the person becomes unreadable, the books stay.
//!
//! What is encrypted loses its key, in every copy; what stands in clear is emptied; rows stay where they are, so that
//! orders keep their amounts. One transaction; again is no error.

use crate::access::invalidation;
use crate::audit::events;
use crate::audit::subject::Erasing;
use crate::gdpr::catalogue::{Person, PersonTable};
use crate::gdpr::error::GdprError;
use crate::gdpr::residue;
use crate::pg::error::SqlError;
use crate::pg::identity::ActingAs;
use crate::pg::raw;
use crate::pg::sql::{self, column, query_one};
use crate::pg::uuid as pg_uuid;
use crate::pii::data_keys;
use pgrx::prelude::*;
use serde_json::json;
use uuid::Uuid;

/// One thing done: (object, action, count).
pub type Step = (String, String, i64);

/// Rows (object, action, count): what was done, or with `dry_run` would be.
#[pg_extern(sql = false)]
fn erase_subject(
    kind: &str,
    id: pgrx::Uuid,
    dry_run: bool,
) -> TableIterator<'static, (name!(object, String), name!(action, String), name!(count, i64))> {
    // Rows that others wrote since would not be seen, and keep ciphertexts that nobody can open any more.
    if !dry_run && raw::one_snapshot_per_transaction() {
        GdprError::Isolation.raise();
    }
    let (person, tables) = Person::required("erase", kind, id);
    refuse_under_hold(&person);
    // While the values can still be read: copies in places that nobody catalogued are for people to look at.
    let copies = match crate::pii::keyring::problem() {
        None => residue::copies_elsewhere(&person, &tables),
        Some(problem) => {
            notice!("copies of the person's values were not looked for: {problem}");
            Vec::new()
        }
    };
    // First the key: this waits for whoever writes about the person now, and what they wrote is then emptied too.
    let key = |id: &Uuid| match dry_run {
        true => data_keys::id_of_subject(person.tenant, &person.kind, *id),
        false => data_keys::destroy(person.tenant, &person.kind, *id),
    };
    let keys: Vec<Uuid> = person.ids.iter().filter_map(key).collect();
    let mut steps: Vec<Step> = tables.iter().filter_map(|table| empty(&person, table, dry_run)).collect();
    if !keys.is_empty() {
        steps.push(("thorbis.data_keys".into(), "destroy key".into(), keys.len() as i64));
    }
    if !dry_run && !steps.is_empty() {
        log(&person, &steps, &keys);
        events::record(Some(person.tenant), "subject.erase", kind, json!({"subject_id": person.id.to_string()}));
    }
    steps.extend(copies.into_iter().map(|(object, count)| (object, "look at".into(), count)));
    TableIterator::new(steps)
}

fn refuse_under_hold(person: &Person) {
    let hold = "SELECT coalesce(h.placed_at::date::text, 'its beginning'), coalesce(h.reason, 'of the tenant')
                  FROM shared.tenants t
                  LEFT JOIN gdpr.legal_holds h ON h.tenant_id = t.id AND h.released_at IS NULL
                       AND (h.subject_id IS NULL OR h.subject_id = ANY ($2) AND h.subject_kind = $3)
                 WHERE t.id = $1 AND (t.legal_hold OR h.id IS NOT NULL) ORDER BY h.placed_at LIMIT 1";
    let [tenant, id] = person.arguments();
    let found = as_owner_of("gdpr", "legal_holds", || {
        query_one(hold, &[tenant, id, person.kind.as_str().into()], |row| {
            (column::<String>(row, 1), column::<String>(row, 2))
        })
    });
    if let Some((since, reason)) = found {
        GdprError::Held { since, reason }.raise();
    }
}

fn as_owner_of<R>(schema: &str, name: &str, body: impl FnOnce() -> R) -> R {
    let table = invalidation::named(schema, name);
    let Some(table) = table else { crate::deploy::error::DeployError::NotInstalled.raise() };
    let _identity = ActingAs::owner(table.owner);
    body()
}

/// Empties the person's columns in one table; None when there is nothing to empty.
fn empty(person: &Person, table: &PersonTable, dry_run: bool) -> Option<Step> {
    let mut assignments = table.emptied();
    if assignments.is_empty() {
        return None;
    }
    let differs: Vec<String> =
        assignments.iter().map(|(name, value)| format!("t.{name}::text IS DISTINCT FROM ({value})::text")).collect();
    let differs = differs.join(" OR ");
    let count = table.count(person, &differs);
    if count > 0 && !dry_run {
        if table.is_person && table.table.column("deleted_at").is_some() {
            assignments.push(("deleted_at".into(), "coalesce(deleted_at, now())".into()));
        }
        let set: Vec<String> = assignments.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let update = format!(
            "UPDATE {} t SET {} WHERE {} AND ({differs})",
            table.table.quoted(),
            set.join(", "),
            table.condition
        );
        let _erasing = Erasing::begin();
        table.as_owner(|| sql::run(&update, &person.arguments()));
    }
    (count > 0).then(|| (table.table.quoted(), "empty".into(), count))
}

/// Who was erased, without a word about them: numbers and ids, to repeat it after a backup is restored.
fn log(person: &Person, steps: &[Step], keys: &[Uuid]) {
    let objects: Vec<String> = steps.iter().map(|(object, ..)| object.clone()).collect();
    let counts: Vec<i64> = steps.iter().map(|(.., count)| *count).collect();
    // One row a key: duplicates that were merged into the person have their own.
    let keys: Vec<Option<Uuid>> = if keys.is_empty() { vec![None] } else { keys.iter().copied().map(Some).collect() };
    as_owner_of("gdpr", "erasures", || {
        for key in keys {
            sql::run(
                "INSERT INTO gdpr.erasures (tenant_id, subject_kind, subject_id, counts, data_key_id)
                 SELECT $1, $3, $2, jsonb_object_agg(c.object, c.count), $6 FROM unnest($4, $5) AS c(object, count)",
                &[
                    pg_uuid::to_pgrx(person.tenant).into(),
                    pg_uuid::to_pgrx(person.id).into(),
                    person.kind.as_str().into(),
                    objects.clone().into(),
                    counts.clone().into(),
                    key.map(pg_uuid::to_pgrx).into(),
                ],
            );
        }
    });
}
