-- Every trigger, grouped by purpose and function. A trigger function that no group names appears under "Other".
SET search_path = pg_catalog;

WITH purpose(position, title, remark, functions) AS (VALUES
    (1, 'Audit', 'They write the log of changes and the security events. The argument of the first two, made by '
        '`thorbis.protect()`, says what the log calls the table, which columns are personal, secret or left out, and whose '
        'data a row is; it is left out here.',
        '{audit_row_changes,audit_truncate,record_security_event}'::text[]),
    (2, 'Validation', 'They refuse what a CHECK, a key or a policy cannot express.',
        '{keep_tenant_id,check_own_row_update,check_role_grant,keep_last_owner,keep_append_only,validate_vin,validate_gtin}'),
    (3, 'Personal data', 'They encrypt what is written, and destroy keys.', '{encrypt_pii_columns,encrypt_customer_pii,write_pii_view,delete_tenant_keys}'),
    (4, 'Notification', 'They write events for other systems into `shared.outbox`, in the transaction that causes them. Not '
        'NOTIFY, whose payload every session can read.', '{write_outbox_event}'),
    (5, 'Maintenance', 'They keep columns and caches current.', '{set_updated_at_column,set_currency_defaults,invalidate_permissions}'),
    (6, 'Business rules', 'Where the status of a document can go is in `shared.state_transitions`, how numbers look in '
        '`shared.number_series`.',
        '{check_status_transition,record_status_change,assign_document_number,keep_document_totals,refresh_document_totals,keep_issued,keep_lines_of_issued,apply_payment_allocation,apply_refund,check_cash_session,check_tax_jurisdiction,check_booking,check_time_off,check_no_overlap,'
        'apply_stock_movement,apply_gift_card_activity,apply_loyalty_entry,apply_loyalty_lots,keep_posted_count}'),
    (7, 'Other', NULL, '{}')
), triggers AS (
    SELECT p.oid AS function, p.proname::text AS name,
           coalesce((SELECT u.position FROM purpose u WHERE p.proname = ANY (u.functions)), 7) AS position,
           t.tgrelid::regclass::text AS on_table, t.tgname::text AS trigger,
           substring(pg_get_triggerdef(t.oid) FROM format('TRIGGER %I (.*) ON %s ', t.tgname, t.tgrelid::regclass))
               || CASE WHEN t.tgtype & 1 = 1 THEN ', each row' ELSE ', each statement' END
               || CASE t.tgenabled WHEN 'A' THEN ', ENABLE ALWAYS' WHEN 'D' THEN ', DISABLED' ELSE '' END AS fires,
           CASE WHEN p.proname NOT IN ('audit_row_changes', 'audit_truncate')
                THEN substring(pg_get_triggerdef(t.oid) FROM 'EXECUTE FUNCTION [^(]*\((.*)\)$') END AS arguments
      FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
     -- Those of a partition are those of its table.
     WHERE NOT t.tgisinternal AND t.tgparentid = 0
), lists AS (
    SELECT position, name, format(E'\n### %s\n\n%s.\n\n| Table | Trigger | Fires | Arguments |\n|---|---|---|---|\n%s',
               name, rtrim(obj_description(function, 'pg_proc'), '.'),
               string_agg(format('| %s | `%s` | %s | %s |', on_table, trigger, fires, arguments), E'\n'
                          ORDER BY on_table COLLATE "C", trigger COLLATE "C")) AS list
      FROM triggers GROUP BY position, function, name
)
SELECT format(E'\n## %s\n', p.title) || coalesce(E'\n' || p.remark || E'\n', '')
       || coalesce(string_agg(l.list, E'\n' ORDER BY l.name COLLATE "C"), '')
  FROM purpose p LEFT JOIN lists l USING (position)
 GROUP BY p.position, p.title, p.remark
HAVING p.remark IS NOT NULL OR count(l.list) > 0
 ORDER BY p.position;
