-- Every function of the extension and of the deployed schemas, by subject. A function that no subject names appears
-- under "Other".
SET search_path = pg_catalog;

WITH subject(position, title, names) AS (VALUES
    (1, 'Context: who is asking', '{get_current_tenant_id,get_current_user_id,get_current_actor_id,set_context,bind_role,unbind_role}'::text[]),
    (2, 'Access: what they may do', '{has_permission,permitted_tenant_id,within_business_hours,explain_permission,who_can}'),
    (3, 'Protection of tables, and work on protected tables', '{protect,unprotect,doctor,soft_delete,restore,import_rows}'),
    (4, 'Deployment, upkeep and tenants', '{install,migrate,rollback,status,repair,maintain,version,create_tenant,add_industry,grant_app,install_auth_shims,assert_supported_server}'),
    (5, 'Personal data', '{encrypt_pii,decrypt_pii,mask_pii,pii_blind_index,find_by_pii,find_customer_by_email,encrypt_existing,decrypt_existing,keyring_status,rotate_keys,begin_key_rotation,rewrap_data_keys,finish_key_rotation,export_subject,erase_subject,residue_scan}'),
    (6, 'Data protection, in the deployed schema gdpr', '{}'),
    (7, 'Audit, in the deployed schema audit', '{}'),
    (8, 'Audit: what the functions of schema audit call', '{calculate_change_digest,seal_audit,verify_audit,prove_audit,get_chain_status,list_record_changes,restore_record_preview,parse_denials,create_audit_partitions,apply_audit_retention}'),
    (9, 'Business engines: totals of orders and refunds, documents', '{calculate_order_total,calculate_refund,allowed_transitions,verify_totals}'),
    (10, 'Trigger functions', '{}'),
    (11, 'Other', '{}')
), members AS (
    SELECT d.objid AS oid
      FROM pg_extension e
      JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
     WHERE e.extname = 'thorbis_db' AND d.classid = 'pg_proc'::regclass
), functions AS (
    SELECT p.oid, n.nspname = 'thorbis' AS administration, p.proname::text AS name,
           CASE WHEN p.prorettype = 'trigger'::regtype THEN 10
                WHEN n.nspname = 'gdpr' THEN 6
                WHEN n.nspname = 'audit' THEN 7
                ELSE coalesce((SELECT s.position FROM subject s WHERE p.proname = ANY (s.names)), 11) END AS position,
           CASE WHEN m.oid IS NULL OR n.nspname = 'thorbis' THEN n.nspname || '.' ELSE '' END || p.proname
               || '(' || pg_get_function_arguments(p.oid) || ')' || coalesce(' RETURNS ' || pg_get_function_result(p.oid), ', a procedure') AS signature,
           CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END
               || CASE p.proparallel WHEN 's' THEN ', parallel safe' WHEN 'r' THEN ', parallel restricted' ELSE '' END
               || CASE WHEN p.proisstrict THEN ', NULL for a NULL argument' ELSE '' END AS kind,
           (SELECT string_agg(a.grantee::regrole::text, ', ' ORDER BY a.grantee::regrole::text COLLATE "C")
              FROM aclexplode(p.proacl) a WHERE a.grantee <> p.proowner) AS callers
      FROM pg_proc p
      JOIN pg_namespace n ON n.oid = p.pronamespace
      LEFT JOIN members m ON m.oid = p.oid
     WHERE m.oid IS NOT NULL OR n.nspname IN (SELECT module FROM thorbis.migrations)
)
SELECT format(E'\n## %s\n', s.title) || string_agg(
           format(E'\n### %s\n\n    %s\n\n%s.\n\n%s. EXECUTE: %s.', f.name, f.signature,
                  rtrim(obj_description(f.oid, 'pg_proc'), '.'), upper(left(f.kind, 1)) || substr(f.kind, 2),
                  CASE WHEN s.position = 10 THEN 'checked when a trigger is created, not when it fires; ' ELSE '' END
                      || coalesce(f.callers, 'superusers only')),
           E'\n' ORDER BY f.administration, f.name COLLATE "C", f.signature COLLATE "C")
  FROM subject s JOIN functions f USING (position)
 GROUP BY s.position, s.title
 ORDER BY s.position;
