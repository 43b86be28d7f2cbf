//! The document's naming conventions and the comments, checked over the catalog: what is added later is held to them
//! without anybody listing it. Names that break a rule are listed with the reason.

use thorbis_tests::assert_none;

// --- names

#[test]
fn tables_are_plural_nouns_in_snake_case() {
    assert_none(
        "not a plural in snake_case",
        "SELECT oid::regclass::text FROM pg_class
          WHERE relnamespace = ANY ({schemas}) AND relkind IN ('r', 'p') AND NOT relispartition
            AND relname !~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*s$'",
        &[
            ("rbac.role_hierarchy", "a relation between roles, named so in the domain's specification"),
            ("audit.change_log", "one log, named so in the design"),
            ("shared.status_history", "one history, named so in the design"),
            ("shared.outbox", "one outbox, named so in the design"),
            ("shared.time_off", "has no plural"),
        ],
    );
}

#[test]
fn views_columns_and_schemas_are_snake_case() {
    let word = "'^[a-z][a-z0-9]*(_[a-z0-9]+)*$'";
    for sql in [
        format!(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = ANY ({{schemas}}) AND relkind IN ('v', 'm') AND relname !~ {word}"
        ),
        format!("SELECT nspname::text FROM pg_namespace WHERE oid = ANY ({{schemas}}) AND nspname !~ {word}"),
        format!(
            "SELECT attrelid::regclass || '.' || attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
              WHERE c.relnamespace = ANY ({{schemas}}) AND c.relkind IN ('r', 'p', 'v', 'm') AND attnum > 0
                AND NOT attisdropped AND attname !~ {word}"
        ),
    ] {
        assert_none("not in snake_case", &sql, &[]);
    }
}

#[test]
fn primary_keys_are_id_within_the_tenant() {
    assert_none(
        "primary key is not (tenant_id, id)",
        "SELECT i.indrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
          WHERE c.relnamespace = ANY ({schemas}) AND c.relnamespace <> 'thorbis'::regnamespace AND i.indisprimary
            AND NOT c.relispartition
            AND ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY k(n, o)
                        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n ORDER BY k.o)
                <> ARRAY['tenant_id', 'id']
          UNION ALL
         SELECT c.oid::regclass::text FROM pg_class c
          WHERE c.relnamespace = ANY ({schemas}) AND c.relkind IN ('r', 'p')
            AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)",
        &[
            ("shared.tenants", "is the tenant: its key is id alone"),
            ("rbac.permissions", "global, known by resource and action"),
            ("shared.currencies", "global, known by their ISO code"),
            ("shared.state_transitions", "global, known by document and both ends"),
            ("rbac.role_templates", "global, known by its code"),
            ("rbac.role_template_permissions", "a pair of the two above"),
            ("rbac.role_permissions", "a pure link: its columns are its identity"),
            ("rbac.role_hierarchy", "a pure link: its columns are its identity"),
            ("audit.change_log", "partitioned by occurred_at, which the key of such a table must hold"),
            ("audit.seals", "one chain of all tenants: the key is the place in it"),
        ],
    );
}

#[test]
fn foreign_keys_are_named_after_what_they_reference() {
    assert_none(
        "not <referenced table, singular>_id",
        "SELECT k.conrelid::regclass || '.' || a.attname
           FROM pg_constraint k JOIN pg_class p ON p.oid = k.confrelid JOIN pg_class c ON c.oid = k.conrelid
           JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) AND a.attname <> 'tenant_id'
           CROSS JOIN LATERAL (SELECT regexp_replace(regexp_replace(p.relname, 'ies$', 'y'), 's$', '')) s(singular)
          WHERE c.relnamespace = ANY ({schemas}) AND k.contype = 'f'
            -- permissions are referenced by their natural key (resource, action)
            AND k.confrelid <> 'rbac.permissions'::regclass
            -- a user in a role of the sentence: created_by, voided_by
            AND NOT (k.confrelid = 'shared.users'::regclass AND a.attname ~ '_by$')
            -- with a word before it (parent_item_id), and the last word of a compound name alone (item_id)
            AND a.attname !~ ('(^|_)(' || s.singular || '|' || substring(s.singular from '[^_]+$') || ')_id$')",
        &[
            ("restaurants.orders.server_id", "the document's own name for the user who serves"),
            ("shared.customers.merged_into_id", "the customer that remains after a merge, named in the specification"),
            ("rbac.role_template_permissions.role_template_code", "role templates are known by their code"),
            ("shared.credit_note_taxes.invoice_tax_id", "one of several taxes is a tax"),
        ],
    );
}

#[test]
fn indexes_begin_with_idx_and_the_table() {
    assert_none(
        "not idx_<table>_...",
        "SELECT x.oid::regclass::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
          WHERE t.relnamespace = ANY ({schemas}) AND NOT t.relispartition AND NOT starts_with(x.relname, 'idx_' || t.relname || '_')
            AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.oid AND k.contype IN ('p', 'u', 'x'))",
        &[],
    );
}

#[test]
fn constraints_are_named_table_column_type() {
    assert_none(
        "not <table>_<columns>_<type>",
        "SELECT k.conrelid::regclass || ' ' || k.conname FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
          WHERE t.relnamespace = ANY ({schemas}) AND k.contype IN ('p', 'u', 'f', 'c', 'x')
            AND k.conname !~ ('^' || t.relname || CASE k.contype WHEN 'p' THEN '_pkey' WHEN 'u' THEN '_.+_unique'
                WHEN 'f' THEN '_.+_fkey' WHEN 'c' THEN '_.+_check' ELSE '_.+_excl' END || '$')",
        &[],
    );
}

#[test]
fn functions_begin_with_a_verb() {
    assert_none(
        "not a verb in front",
        "SELECT p.proname::text FROM pg_proc p
          WHERE (p.pronamespace = ANY ({schemas})
                 OR EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                             WHERE d.objid = p.oid AND d.deptype = 'e' AND e.extname = 'thorbis_db'))
            AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                             WHERE d.objid = p.oid AND d.deptype = 'e' AND e.extname <> 'thorbis_db')
            AND p.proname !~ ('^(activate|add|adjust|allocate|allow|apply|assert|assign|audit|authorize|begin|bind|book|calculate|cancel|capture'
                || '|check|claim|close|complete|consume|convert|count|create|credit|decrypt|delete|earn|encrypt'
                || '|erase|expire|explain|export|fail|find|finish|get|grant|has|import|install|invalidate|is|issue'
                || '|keep|list|load|maintain|mask|migrate|open|parse|pay|post|protect|prove|publish|read|record'
                || '|redeem|refresh|refund|refuse|release|repair|reserve|resolve|restore|reverse|rewrap|rollback'
                || '|rotate|seal|set|soft_delete|spend|take|transfer|unbind|unprotect|use|validate|verify|void|write)(_|$)')",
        &[
            ("permitted_tenant_id", "an adjective on purpose: it stands in policies as tenant_id = permitted_tenant_id(...)"),
            ("within_business_hours", "reads as the condition it is in policies"),
            ("status", "what the administrator types"),
            ("doctor", "what the administrator types"),
            ("version", "as PostgreSQL's own"),
            ("who_can", "a question"),
            ("allowed_transitions", "what it lists, for user interfaces"),
            ("pii_blind_index", "what it returns: it stands in conditions"),
            ("keyring_status", "what the administrator types"),
            ("residue_scan", "what the administrator types"),
        ],
    );
}

#[test]
fn triggers_are_named_event_table_purpose() {
    assert_none(
        "not <event>_<table>_<purpose>",
        "SELECT t.oid::regclass || ' ' || g.tgname FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid
          WHERE t.relnamespace = ANY ({schemas}) AND NOT t.relispartition AND NOT g.tgisinternal
            AND g.tgname !~ ('^(insert|update|delete|truncate|write|audit|encrypt)_' || t.relname || '_')
            -- a view that can be written: what is written is all there is to say
            AND NOT (t.relkind = 'v' AND g.tgname = 'write_' || t.relname)
            -- the document's own name for the trigger of updated_at
            AND g.tgname <> 'set_updated_at_' || t.relname",
        &[
            ("shared.customers encrypt_customer_pii_trigger", "the document's own name"),
            ("shared.customers audit_customer_changes", "the document's own name"),
        ],
    );
}

#[test]
fn policies_are_named_table_purpose() {
    assert_none(
        "not <table>_<purpose>",
        "SELECT p.polrelid::regclass || ' ' || p.polname FROM pg_policy p JOIN pg_class t ON t.oid = p.polrelid
          WHERE t.relnamespace = ANY ({schemas}) AND NOT t.relispartition AND NOT starts_with(p.polname, t.relname || '_')
            AND p.polname <> 'tenant_isolation_' || t.relname
            -- descriptive names of the document
            AND p.polname NOT IN ('employee_read_customers', 'business_hours_access', 'users_own_data', 'users_own_data_update')",
        &[],
    );
}

// --- comments

#[test]
fn everything_has_a_comment() {
    for (kind, sql) in [
        ("schema", "SELECT nspname::text FROM pg_namespace WHERE oid = ANY ({schemas}) AND obj_description(oid, 'pg_namespace') IS NULL"),
        (
            "table or view",
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = ANY ({schemas}) AND relkind IN ('r', 'p', 'v', 'm')
                AND obj_description(oid, 'pg_class') IS NULL",
        ),
        (
            "column",
            "SELECT c.oid::regclass || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
              WHERE c.relnamespace = ANY ({schemas}) AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
                AND col_description(c.oid, a.attnum) IS NULL",
        ),
        (
            "function",
            "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
               JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'thorbis_db'
              WHERE obj_description(p.oid, 'pg_proc') IS NULL",
        ),
    ] {
        assert_none(&format!("{kind} without a comment"), sql, &[]);
    }
}
