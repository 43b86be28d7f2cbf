//! How the numbers of a series look and what is counted together: the rows of `shared.number_series`.

use crate::access::invalidation::{self, Relation, Watched};
use crate::domain::numbering::Reset;
use crate::pg::fresh::{self, Arg};
use crate::pg::index_lookup::{self, FoundRow, Key};
use uuid::Uuid;

/// The columns of `shared.number_series`.
const TENANT: i16 = 1;
const SERIES: i16 = 3;
const LOCATION: i32 = 4;
const PREFIX: i32 = 5;
const DIGITS: i32 = 6;
const RESET: i32 = 7;
const GAP_FREE: i32 = 8;

/// The business date of now, as the days since 2000-01-01: in the time zone of the place or the tenant, and of the day
/// before until the place's hour. By the clock: a transaction that is open over New Year's Eve gets no number of the old year.
const TODAY: &str = "
SELECT (((pg_catalog.clock_timestamp() AT TIME ZONE coalesce(l.timezone, t.timezone)) - coalesce(l.business_day_cutoff, '00:00'))::date
           - DATE '2000-01-01')::bigint
  FROM shared.tenants t LEFT JOIN shared.locations l ON l.tenant_id = t.id AND l.id = $2
 WHERE t.id = $1";

/// One definition; the default where there is none.
#[derive(Debug, Default)]
pub struct Definition {
    /// Whether the location has numbers of its own.
    pub of_location: bool,
    pub prefix: String,
    pub digits: usize,
    pub reset: Reset,
    pub gap_free: bool,
}

impl Definition {
    /// That of the location, else that of the tenant.
    pub fn of(tenant: Uuid, series: &str, location: Option<Uuid>) -> Definition {
        let table = invalidation::named("shared", "number_series");
        let index = invalidation::named("shared", "number_series_series_unique");
        let Some((table, index)) = table.zip(index) else { return Definition::default() };
        let keys = [(TENANT, Key::Uuid(tenant)), (SERIES, Key::Text(series))];
        let read = |wanted: Option<Uuid>| {
            let row = |row: &FoundRow| (row.optional_uuid(LOCATION) == wanted).then(|| Definition::from(row));
            index_lookup::find(table.oid, index.oid, &keys, row)
        };
        location.and_then(|location| read(Some(location))).or_else(|| read(None)).unwrap_or_default()
    }

    fn from(row: &FoundRow) -> Definition {
        Definition {
            of_location: row.optional_uuid(LOCATION).is_some(),
            prefix: row.text(PREFIX),
            digits: row.smallint(DIGITS).unsigned_abs().into(),
            reset: Reset::parse(&row.text(RESET)).unwrap_or_default(),
            gap_free: row.boolean(GAP_FREE),
        }
    }

    /// The period that `on`, days since 2000-01-01, is in; None is the business date of now.
    pub fn period(&self, tenant: Uuid, location: Option<Uuid>, on: Option<i32>) -> String {
        match self.reset {
            Reset::Never => String::new(),
            reset => reset.period(on.unwrap_or_else(|| today(tenant, location))),
        }
    }
}

/// The business date of now where a location is, else where the tenant is, as days since 2000-01-01.
pub fn today(tenant: Uuid, location: Option<Uuid>) -> i32 {
    let mut today = 0;
    if let Some(Relation { oid, owner }) = invalidation::relation(Watched::Tenants) {
        let arguments = [Arg::Uuid(tenant), Arg::optional_uuid(location)];
        fresh::read(owner, oid, TODAY, &arguments, |row| today = row.bigint(1).unwrap_or_default() as i32);
    }
    today
}
