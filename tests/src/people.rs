//! Customers of whom something is known in every table, and what is done with all of it at once.

use crate::database::Database;
use crate::session::{as_owner, in_context, one};
use crate::tenants::{A, B, Tenant};
use crate::{assert_sqlstate, ok};
use postgres::{Client, Transaction};
use uuid::Uuid;

/// A table of one's own about customers, and one about people of another kind.
pub const NOTES: &str = "
    CREATE SCHEMA crm AUTHORIZATION thorbis_owner;
    CREATE TABLE crm.notes (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), customer_id uuid, body text, free text,
                            PRIMARY KEY (tenant_id, id));
    CREATE TABLE crm.guests (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), name text, PRIMARY KEY (tenant_id, id));
    ALTER TABLE crm.notes OWNER TO thorbis_owner; ALTER TABLE crm.guests OWNER TO thorbis_owner;
    SELECT thorbis.protect('crm.notes', options => '{\"pii\": [\"body\"], \"not_personal\": [\"free\"],
        \"subject\": {\"kind\": \"customer\", \"column\": \"customer_id\"}}');
    SELECT thorbis.protect('crm.guests', options => '{\"pii\": [\"name\"], \"subject\": {\"kind\": \"guest\", \"column\": \"id\"}}');
    CREATE TABLE public.saved (envelope text, field text, row_id text); GRANT SELECT ON public.saved TO PUBLIC";

/// What is known of A's customer.
pub const SECRETS: [&str; 9] = [
    "carla@aaaaaaaa.example",
    "+1 555 0142",
    "Zebulon",
    "Customerson",
    "Nut street",
    "peanuts",
    "TAX-4711",
    "gluten",
    "met at the fair",
];

/// A customer with data in every column and rows in every table, and the same for B.
pub fn with_customer() -> Database {
    let db = Database::new();
    ok(db.superuser().batch_execute(NOTES));
    for tenant in [&A, &B] {
        as_owner(&db, tenant, |tx| {
            let person = "UPDATE shared.customers_pii SET phone = '+1 555 0142', first_name = 'Zebulon', last_name = 'Customerson',
                                 address = '{\"street\": \"Nut street\"}', preferences = '{\"likes\": \"peanuts\"}',
                                 tax_exemption_no = 'TAX-4711', company_name = 'Zebulon Ltd', metadata = '{\"x\": \"Zebulon\"}',
                                 tags = '{Zebulon}' WHERE id = $1";
            assert_eq!(tx.execute(person, &[&tenant.customer])?, 1);
            tx.execute(
                "UPDATE restaurants.orders SET special_instructions = 'no gluten' WHERE customer_id = $1",
                &[&tenant.customer],
            )?;
            tx.execute(
                "UPDATE restaurants.order_items SET special_instructions = 'no gluten' WHERE order_id = $1",
                &[&tenant.order],
            )?;
            tx.execute(
                "INSERT INTO gdpr.data_subject_requests (customer_id, type) VALUES ($1, 'erasure')",
                &[&tenant.customer],
            )?;
            tx.execute(
                "INSERT INTO crm.notes (customer_id, body) VALUES ($1, 'met at the fair')",
                &[&tenant.customer],
            )?;
            tx.execute(
                "INSERT INTO crm.notes (customer_id, body) VALUES ($1, 'somebody else')",
                &[&tenant.restricted_customer],
            )
        });
    }
    db
}

/// Like `assert_sqlstate`, for a call on behalf of a user of A.
#[track_caller]
pub fn refused(db: &Database, user: Uuid, call: &str, code: &str) -> String {
    let error =
        assert_sqlstate(in_context(&mut db.app(), A.id, user, |tx| tx.query(&format!("SELECT {call}"), &[])), code);
    error.message().to_owned()
}

/// (object, action or finding) of each row that a call returns.
pub fn steps(tx: &mut Transaction<'_>, call: &str) -> Vec<(String, String)> {
    ok(tx.query(&format!("SELECT * FROM {call}"), &[])).iter().map(|row| (row.get(0), row.get(1))).collect()
}

pub fn erase(db: &Database, tenant: &Tenant, person: Uuid) -> Vec<(String, String)> {
    as_owner(db, tenant, |tx| Ok(steps(tx, &format!("gdpr.erase_subject('{person}', dry_run => false)"))))
}

/// Whether the customer's address is gone for A's owner.
pub fn unreadable_in(db: &Database, client: &mut Client, tenant: &Tenant, person: Uuid) -> bool {
    let email = in_context(client, tenant.id, tenant.owner, |tx| {
        Ok(one::<Option<String>>(tx, "SELECT email FROM shared.customers_pii WHERE id = $1", &[&person]))
    });
    let index: Option<Vec<u8>> =
        one(&mut db.superuser(), "SELECT email_bidx FROM shared.customers WHERE id = $1", &[&person]);
    ok(email).is_none() && index.is_none()
}
