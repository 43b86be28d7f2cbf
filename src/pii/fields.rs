//! The personal columns of all protected tables, by field: what reading their envelopes takes. From the registry of
//! protection. Those of columns that are clear in their table stand in the log of changes.

use crate::access::invalidation::{self, Watched};
use crate::domain::personal::Kind;
use crate::pg::cell::BackendCell;
use crate::pg::fresh;
use crate::pg::kept::Kept;
use crate::protect::options::Options;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// A personal column.
#[derive(Debug, Clone)]
pub struct Field {
    pub resource: String,
    pub kind: Kind,
    /// Rows are users, who may read their own.
    pub own_row: bool,
}

type Fields = HashMap<String, Field>;

const REGISTERED: &str = "SELECT p.resource, p.options::text FROM thorbis.protected_tables p";

static KNOWN: BackendCell<RefCell<Option<Kept<Fields>>>> = BackendCell::new(RefCell::new(None));
static GENERATION: BackendCell<Cell<u64>> = BackendCell::new(Cell::new(0));

/// The column whose ciphertexts are bound to `field`, None for a field that no table has.
pub fn find(field: &str) -> Option<Field> {
    all().get(field).cloned()
}

fn all() -> Rc<Fields> {
    let generation = invalidation::generation();
    let known = KNOWN.borrow().as_ref().filter(|_| GENERATION.get() == generation).and_then(Kept::get);
    known.unwrap_or_else(|| {
        let kept = Kept::new(load());
        let fields = kept.value();
        KNOWN.replace(Some(kept));
        GENERATION.set(generation);
        fields
    })
}

fn load() -> Fields {
    let mut fields = Fields::new();
    let Some(registry) = invalidation::relation(Watched::ProtectedTables) else { return fields };
    fresh::read(registry.owner, registry.oid, REGISTERED, &[], |row| {
        let (Some(resource), Some(options)) = (row.text(1), row.text(2)) else { return };
        // Options of another version of the library protect nothing here: unknown fields need a permission of their own.
        let Some(options) = serde_json::from_str(&options).ok().and_then(|json| Options::parse(json).ok()) else {
            return;
        };
        let own_row = options.own_rows.as_ref().is_some_and(|own| own.user_column == "id");
        for pii in &options.pii {
            if let Some(field) = &pii.field {
                let known = Field { resource: resource.clone(), kind: pii.kind, own_row };
                fields.insert(field.clone(), known);
            }
        }
    });
    fields
}
