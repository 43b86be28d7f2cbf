//! Two tenants: A attacks, B is the victim. Both are filled by the same text, so both have the same things.

use postgres::Client;
use uuid::Uuid;

/// `{t}` stands for the tenant's eight digits.
pub const FIXTURE: &str = concat!(
    include_str!("../fixture.sql"),
    include_str!("../fixtures/documents.sql"),
    include_str!("../fixtures/billing.sql"),
    include_str!("../fixtures/ledgers.sql"),
    include_str!("../fixtures/bookings.sql"),
);

pub struct Tenant {
    digits: &'static str,
    pub name: &'static str,
    pub id: Uuid,
    /// Holds every permission: what it cannot do is due to isolation alone.
    pub owner: Uuid,
    /// Everything on customers, orders and menu items.
    pub manager: Uuid,
    /// Reads customers, reads and creates orders.
    pub employee: Uuid,
    pub customer: Uuid,
    /// A customer whose settings carry `pii_restricted`.
    pub restricted_customer: Uuid,
    pub order: Uuid,
    /// The role that the employee holds.
    pub employee_role: Uuid,
}

pub const A: Tenant = Tenant::new("aaaaaaaa", "Alpha Diner", 0xaaaa_aaaa);
pub const B: Tenant = Tenant::new("bbbbbbbb", "Beta Bistro", 0xbbbb_bbbb);

impl Tenant {
    const fn new(digits: &'static str, name: &'static str, prefix: u128) -> Tenant {
        let base = prefix << 96 | 0x0000_4000_8000_0000_0000_0000;
        Tenant {
            digits,
            name,
            id: Uuid::from_u128(base | 0x01),
            owner: Uuid::from_u128(base | 0x11),
            manager: Uuid::from_u128(base | 0x12),
            employee: Uuid::from_u128(base | 0x13),
            customer: Uuid::from_u128(base | 0x21),
            restricted_customer: Uuid::from_u128(base | 0x22),
            order: Uuid::from_u128(base | 0x31),
            employee_role: Uuid::from_u128(base | 0x42),
        }
    }
}

/// Makes both tenants and at least one row of each in every tenant table (isolation.rs holds it to that).
pub fn fill(client: &mut Client) {
    for tenant in [&A, &B] {
        let slug = tenant.name.to_lowercase().replace(' ', "-");
        let made = client.execute(
            "SELECT thorbis.create_tenant(name => $1, slug => $2, owner_id => $3, owner_email => $4,
                                          industries => '{restaurants}', id => $5)",
            &[&tenant.name, &slug, &tenant.owner, &format!("owner@{slug}.example"), &tenant.id],
        );
        crate::ok(made);
        crate::ok(client.batch_execute(&FIXTURE.replace("{t}", tenant.digits)));
    }
    crate::ok(client.batch_execute("ANALYZE"));
}
