//! `check_tax_jurisdiction()`: jurisdictions are a tree.

use crate::billing::error::BillingError;
use crate::context::current;
use crate::pg::error::SqlError;
use crate::pg::fresh::{self, Arg};
use crate::pg::function::guarded;
use crate::pg::identity;
use crate::pg::private_lock::{self, Key, Space};
use crate::pg::settings_scope::SettingsScope;
use crate::pg::trigger::{Firing, Trigger};
use crate::v1_function;

const ABOVE: &str = "
WITH RECURSIVE above AS (
    SELECT j.id, j.parent_jurisdiction_id FROM shared.tax_jurisdictions j WHERE j.tenant_id = $1 AND j.id = $2
    UNION
    SELECT j.id, j.parent_jurisdiction_id
      FROM above a JOIN shared.tax_jurisdictions j ON j.tenant_id = $1 AND j.id = a.parent_jurisdiction_id
)
SELECT 1 FROM above a WHERE a.id = $3";

v1_function!(
    /// BEFORE INSERT OR UPDATE FOR EACH ROW on shared.tax_jurisdictions.
    thorbis_check_tax_jurisdiction, pg_finfo_thorbis_check_tax_jurisdiction, |fcinfo| {
    guarded(|| {
        // SAFETY: called by PostgreSQL as declared.
        let trigger = unsafe { Trigger::of(fcinfo, Firing::BeforeRow) };
        let row = trigger.new_row();
        let ids = ["tenant_id", "id", "parent_jurisdiction_id"].map(|name| trigger.uuid(row, name));
        // A row of another tenant is for the policies to refuse.
        if let [Some(tenant), Some(id), Some(parent)] = ids
            && (identity::operates_all_tenants() || current::get().tenant == Some(tenant))
        {
            let _path = SettingsScope::pinned_path();
            // Two changes that would close a circle together wait for each other.
            private_lock::hold(Space::TaxJurisdictions, Key::default().uuid(tenant).hash());
            let arguments = [Arg::Uuid(tenant), Arg::Uuid(parent), Arg::Uuid(id)];
            let mut circle = parent == id;
            fresh::read(trigger.owner(), trigger.relation(), ABOVE, &arguments, |_| circle = true);
            if circle {
                BillingError::Cycle.raise();
            }
        }
        trigger.unchanged()
    })
});
