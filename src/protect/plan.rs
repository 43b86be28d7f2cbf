//! The statements that bring a table from what it is to what its options ask for.

use crate::deploy::extension_schema;
use crate::domain::names;
use crate::pg::sql::{column, exists, optional, query};
use crate::protect::error::ProtectError;
use crate::protect::grants::{APP, AUDITOR};
use crate::protect::options::{Command, Options};
use crate::protect::personal::PiiColumn;
use crate::protect::policies::{self, Policy};
use crate::protect::table::Table;
use crate::protect::{audit, grants, pii, pii_views, risks};
use pgrx::pg_sys;
use pgrx::spi::{quote_identifier, quote_literal};

/// As the catalog prints the type.
pub const TIMESTAMPTZ: &str = "timestamp with time zone";

/// What is missing on `table`. `previous` are the options it was protected with before, if it was.
pub fn missing(
    table: &Table,
    resource: &str,
    options: &Options,
    previous: Option<&(String, Options)>,
) -> Result<Vec<String>, ProtectError> {
    check_options(table, resource, options)?;
    let desired = policies::desired(options.base(&table.name), resource, options);
    let mut plan = Plan { table: table.quoted(), statements: Vec::new() };
    plan.tenant_column(table, options)?;
    refuse_risks(table, options, &desired, previous)?;
    plan.index(table, options);
    plan.end_encryption(table, options, previous.map(|(_, options)| options))?;
    plan.statements.extend(pii::columns(table, options));
    plan.row_security(table.oid, &plan.table.clone());
    let outdated = outdated_policies(options.base(&table.name), &desired, previous);
    plan.policies(table.oid, &table.quoted(), &desired, &outdated);
    for (child, name) in table.descendants() {
        plan.row_security(child, &name);
        plan.policies(child, &name, &desired, &outdated);
    }
    plan.triggers(table, resource, options)?;
    plan.statements.extend(grants::missing(table, options));
    plan.statements.extend(pii_views::missing(table, resource, options)?);
    Ok(plan.statements)
}

/// Which rows a trigger fires for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fires {
    Ordinarily,
    /// For replicated rows too.
    Always,
}

impl Fires {
    fn sql(self) -> &'static str {
        match self {
            Fires::Ordinarily => "",
            Fires::Always => "ALWAYS ",
        }
    }
}

/// What a trigger stands on: the table, or one beneath it.
struct Relation {
    oid: pg_sys::Oid,
    /// Quoted.
    name: String,
}

impl Relation {
    /// Triggers of the log of changes that stand on it, but for those a partition has from its parent.
    fn audit_triggers(&self) -> Vec<String> {
        query(
            "SELECT t.tgname::text FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
              WHERE t.tgrelid = $1 AND t.tgparentid = 0 AND p.proname IN ('audit_row_changes', 'audit_truncate')",
            &[self.oid.into()],
            |row| column(row, 1),
        )
    }

    fn is_partition(&self) -> bool {
        exists("SELECT 1 FROM pg_class WHERE oid = $1 AND relispartition", &[self.oid.into()])
    }
}

struct Plan {
    table: String,
    statements: Vec<String>,
}

impl Plan {
    fn push(&mut self, statement: String) {
        self.statements.push(statement);
    }

    /// uuid, NOT NULL, defaulting to the current tenant. `shared.tenants` is its own tenant and keeps its key's default.
    fn tenant_column(&mut self, table: &Table, options: &Options) -> Result<(), ProtectError> {
        let (name, quoted) = (&options.tenant_column, quote_identifier(&options.tenant_column));
        let Some(column) = table.column(name) else {
            if table.has_rows("true") {
                return Err(ProtectError::RowsWithoutTenant { table: table.quoted(), column: name.clone() });
            }
            let default = default_tenant();
            self.push(format!("ALTER TABLE {} ADD COLUMN {quoted} uuid NOT NULL DEFAULT {default}", self.table));
            return Ok(());
        };
        if column.data_type != "uuid" {
            let found = column.data_type.clone();
            return Err(ProtectError::TenantType { table: table.quoted(), column: name.clone(), found });
        }
        if !column.not_null {
            if table.has_rows(&format!("{quoted} IS NULL")) {
                return Err(ProtectError::RowsWithNullTenant { table: table.quoted(), column: name.clone() });
            }
            self.push(format!("ALTER TABLE {} ALTER COLUMN {quoted} SET NOT NULL", self.table));
        }
        // Any other default would give a row to somebody else. A key of its own, as that of shared.tenants, keeps its.
        let own_key = table.primary_key == [name.clone()];
        if !own_key && column.default.as_deref() != Some(default_tenant().as_str()) {
            self.push(format!("ALTER TABLE {} ALTER COLUMN {quoted} SET DEFAULT {}", self.table, default_tenant()));
        }
        Ok(())
    }

    fn index(&mut self, table: &Table, options: &Options) {
        let covered = exists(
            "SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
              WHERE i.indrelid = $1 AND a.attname = $2 AND i.indisvalid AND i.indpred IS NULL",
            &[table.oid.into(), options.tenant_column.as_str().into()],
        );
        if !covered {
            let name = names::derived("idx_", options.base(&table.name), &format!("_{}", options.tenant_column));
            let (name, column) = (quote_identifier(name), quote_identifier(&options.tenant_column));
            self.push(format!("CREATE INDEX {name} ON {} ({column})", self.table));
        }
    }

    /// Columns that were encrypted and shall not be any more. Values that are encrypted stay readable only as long as the
    /// table says how.
    fn end_encryption(
        &mut self,
        table: &Table,
        options: &Options,
        previous: Option<&Options>,
    ) -> Result<(), ProtectError> {
        let Some(previous) = previous else { return Ok(()) };
        let still =
            |pii: &&PiiColumn| options.encrypted().any(|now| now.column == pii.column && now.field == pii.field);
        let ended: Vec<&PiiColumn> = previous.encrypted().filter(|pii| !still(pii)).collect();
        let changed = |now: &&PiiColumn| {
            let before = previous.encrypted().find(|before| before.field == now.field);
            before.is_some_and(|before| {
                before.kind != now.kind || !before.index && now.index || previous.subject != options.subject
            })
        };
        let changed: Vec<&PiiColumn> = options.encrypted().filter(changed).collect();
        if pii::has_encrypted_rows(table, &changed) {
            let column = changed[0].column.clone();
            return Err(ProtectError::StillEncrypted { table: table.quoted(), column });
        }
        if pii::has_encrypted_rows(table, &ended) {
            let column = ended[0].column.clone();
            return Err(ProtectError::StillEncrypted { table: table.quoted(), column });
        }
        // Where others stay encrypted, trigger and views are made anew as any that differ.
        let gone = if options.encrypted().next().is_some() {
            pii::dropped_checks(table, previous, &ended)
        } else {
            pii::removals(table, previous)
        };
        self.statements.extend(gone);
        Ok(())
    }

    fn row_security(&mut self, oid: pg_sys::Oid, name: &str) {
        let flags =
            query("SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = $1", &[oid.into()], |r| {
                (column::<bool>(r, 1), column::<bool>(r, 2))
            });
        let (enabled, forced) = flags.first().copied().unwrap_or_default();
        if !enabled {
            self.push(format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"));
        }
        if !forced {
            self.push(format!("ALTER TABLE {name} FORCE ROW LEVEL SECURITY"));
        }
    }

    fn policies(&mut self, oid: pg_sys::Oid, name: &str, desired: &[Policy], outdated: &[String]) {
        let present = present_policies(oid);
        for policy in present.iter().filter(|p| outdated.contains(&p.name)) {
            self.push(format!("DROP POLICY {} ON {name}", quote_identifier(&policy.name)));
        }
        for policy in desired {
            match present.iter().find(|p| p.name == policy.name) {
                Some(same) if same == policy => continue,
                Some(_) => self.push(format!("DROP POLICY {} ON {name}", quote_identifier(&policy.name))),
                None => {}
            }
            self.push(policy.create(name));
        }
    }

    fn triggers(&mut self, table: &Table, resource: &str, options: &Options) -> Result<(), ProtectError> {
        let schema = extension_schema();
        let on = Relation { oid: table.oid, name: table.quoted() };
        if table.column("updated_at").is_some_and(|c| c.data_type == TIMESTAMPTZ) {
            let name = names::derived("set_updated_at_", options.base(&table.name), "");
            // Somebody's own trigger of that name may do as well: nothing depends on it.
            let call = format!("{schema}.set_updated_at_column()");
            let _own = self.trigger(&on, &name, "BEFORE UPDATE", &call, Fires::Ordinarily);
        }
        if let Some(own) = options.own_rows.as_ref().filter(|own| !own.update_columns.is_empty()) {
            let name = names::derived("update_", options.base(&table.name), "_own_columns");
            // What stands for an encrypted column changes with it.
            let listed = |pii: &&PiiColumn| own.update_columns.contains(&pii.column);
            let companions = options.pii.iter().filter(listed).flat_map(PiiColumn::companions);
            let arguments: Vec<String> = std::iter::once(resource.to_owned())
                .chain(own.update_columns.iter().cloned())
                .chain(companions)
                .map(quote_literal)
                .collect();
            let call = format!("{schema}.check_own_row_update({})", arguments.join(", "));
            self.trigger(&on, &name, "BEFORE UPDATE", &call, Fires::Ordinarily)?;
        }
        if let Some((name, call)) = pii::trigger(table, options)? {
            self.trigger(&on, &name, "BEFORE INSERT OR UPDATE", &call, Fires::Always)?;
        }
        self.audit_triggers(table, options)?;
        let name = names::derived("update_", options.base(&table.name), "_tenant_guard");
        let column = &options.tenant_column;
        let event = format!("BEFORE UPDATE OF {}", quote_identifier(column));
        let call = format!("{schema}.keep_tenant_id({})", quote_literal(column));
        self.trigger(&on, &name, &event, &call, Fires::Ordinarily)
    }

    /// PostgreSQL gives row triggers to partitions, but not to inheritance children, and triggers of TRUNCATE to neither.
    fn audit_triggers(&mut self, table: &Table, options: &Options) -> Result<(), ProtectError> {
        let wanted = audit::row_trigger(table, options).zip(audit::truncate_trigger(table, options));
        let names: Vec<&str> =
            wanted.iter().flat_map(|(row, truncate)| [row.0.as_str(), truncate.0.as_str()]).collect();
        let root = (table.oid, table.quoted());
        for (oid, name) in std::iter::once(root).chain(table.descendants()) {
            let on = Relation { oid, name };
            // Under another name they would log every change once more; and there are tables that are logged no more.
            for stray in on.audit_triggers().into_iter().filter(|name| !names.contains(&name.as_str())) {
                self.push(format!("DROP TRIGGER {} ON {}", quote_identifier(stray), on.name));
            }
            let Some(((changes, row_call), (truncate, truncate_call))) = &wanted else { continue };
            if !on.is_partition() {
                self.trigger(&on, changes, "AFTER INSERT OR DELETE OR UPDATE", row_call, Fires::Always)?;
            }
            self.trigger(&on, truncate, "BEFORE TRUNCATE", truncate_call, Fires::Always)?;
        }
        Ok(())
    }

    /// Makes the trigger, or makes it again when its arguments changed. One of that name that calls somebody else's
    /// function is an error.
    fn trigger(
        &mut self,
        on: &Relation,
        name: &str,
        event: &str,
        call: &str,
        fires: Fires,
    ) -> Result<(), ProtectError> {
        let present = query(
            "SELECT tgenabled::text, pg_get_triggerdef(oid) FROM pg_trigger
              WHERE tgrelid = $1 AND tgname = $2 AND NOT tgisinternal",
            &[on.oid.into(), name.into()],
            |row| (column::<String>(row, 1), column::<String>(row, 2)),
        );
        let quoted = quote_identifier(name);
        let function = call.split('(').next().unwrap_or(call);
        let level = if event.ends_with("TRUNCATE") { "STATEMENT" } else { "ROW" };
        let create = format!("CREATE TRIGGER {quoted} {event} ON {} FOR EACH {level} EXECUTE FUNCTION {call}", on.name);
        let enable = format!("ALTER TABLE {} ENABLE {}TRIGGER {quoted}", on.name, fires.sql());
        let always = (fires == Fires::Always).then(|| enable.clone());
        match present.first() {
            None => self.statements.extend([create].into_iter().chain(always)),
            Some((_, found)) if !found.contains(&format!("EXECUTE FUNCTION {function}(")) => {
                return Err(ProtectError::TriggerNameTaken { table: on.name.clone(), trigger: name.to_owned() });
            }
            Some((_, found)) if *found != create => {
                self.push(format!("DROP TRIGGER {quoted} ON {}", on.name));
                self.statements.extend([create].into_iter().chain(always));
            }
            // Disabled, or for replicated rows only, or not for those.
            Some((enabled, _)) if enabled == "D" || enabled == "R" || always.is_some() && enabled != "A" => {
                self.push(enable);
            }
            Some(_) => {}
        }
        Ok(())
    }
}

fn default_tenant() -> String {
    format!("{}.get_current_tenant_id()", extension_schema())
}

fn check_options(table: &Table, resource: &str, options: &Options) -> Result<(), ProtectError> {
    if !names::is_word(resource) {
        let message = format!("resource {resource:?} is not a lower-case word");
        return Err(ProtectError::Options(message));
    }
    if let Some(column) = options.columns().find(|c| table.column(c).is_none()) {
        return Err(ProtectError::NoColumn { table: table.quoted(), column: column.clone() });
    }
    pii::check(table, options)?;
    let companions: Vec<String> = options.sealed_columns().collect();
    let fixed = |column: &&String| {
        companions.contains(column) || **column == options.tenant_column || table.primary_key.contains(column)
    };
    match options.updatable().find(fixed) {
        Some(column) => Err(ProtectError::FixedColumn { table: table.quoted(), column: column.clone() }),
        None => Ok(()),
    }
}

fn refuse_risks(
    table: &Table,
    options: &Options,
    desired: &[Policy],
    previous: Option<&(String, Options)>,
) -> Result<(), ProtectError> {
    let mut own: Vec<String> = desired.iter().map(|p| p.name.clone()).collect();
    own.extend(outdated_policies(options.base(&table.name), desired, previous));
    let mut risks = risks::of(table, options, own);
    risks.retain(|r| !options.accept_risks.contains(&r.code));
    if risks.is_empty() { Ok(()) } else { Err(ProtectError::Risks { table: table.quoted(), risks }) }
}

/// Policies made for the previous options that the new ones do not want.
fn outdated_policies(table: &str, desired: &[Policy], previous: Option<&(String, Options)>) -> Vec<String> {
    let previous = previous.map(|(resource, options)| policies::desired(table, resource, options)).unwrap_or_default();
    previous.into_iter().map(|p| p.name).filter(|name| !desired.iter().any(|d| d.name == *name)).collect()
}

fn present_policies(oid: pg_sys::Oid) -> Vec<Policy> {
    query(
        "SELECT polname::text, polcmd::text, polpermissive, polroles = ARRAY[to_regrole('thorbis_app')::oid],
                polroles = '{0}', polroles = ARRAY[to_regrole('thorbis_auditor')::oid], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
           FROM pg_policy WHERE polrelid = $1",
        &[oid.into()],
        |row| {
            let letter = column::<String>(row, 2);
            let (app, public, auditor): (bool, bool, bool) = (column(row, 4), column(row, 5), column(row, 6));
            Policy {
                name: column(row, 1),
                command: Command::ALL.into_iter().find(|c| letter.starts_with(c.letter())),
                permissive: column(row, 3),
                // Any other set of roles compares unequal to what is wanted.
                role: if app {
                    Some(APP)
                } else if public {
                    None
                } else if auditor {
                    Some(AUDITOR)
                } else {
                    Some("")
                },
                using: optional(row, 7),
                check: optional(row, 8),
            }
        },
    )
}
