-- What is done with a person's data as a whole, and the job that applies the retention policies. They are called with the
-- rights of whoever calls them; thorbis.export_subject() and its sisters check the permission and then act as the owner of
-- each table.

CREATE FUNCTION gdpr.export_subject(customer_id uuid, kind text DEFAULT 'customer') RETURNS jsonb
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT thorbis.export_subject(kind, customer_id) $function$;

COMMENT ON FUNCTION gdpr.export_subject(uuid, text) IS
    'Everything that is kept about a person of the current tenant, decrypted, as JSON. Needs gdpr:export. kind: customer, user or a kind of your own';
REVOKE ALL ON FUNCTION gdpr.export_subject(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gdpr.export_subject(uuid, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION gdpr.erase_subject(customer_id uuid, dry_run boolean DEFAULT true, kind text DEFAULT 'customer')
    RETURNS TABLE (object text, action text, count bigint)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT * FROM thorbis.erase_subject(kind, customer_id, dry_run) $function$;

COMMENT ON FUNCTION gdpr.erase_subject(uuid, boolean, text) IS
    'Erases a person of the current tenant: destroys the key, empties what is kept in clear, keeps the books. Needs gdpr:erase; refuses under a hold (55000); only tells what it would do unless dry_run => false';
REVOKE ALL ON FUNCTION gdpr.erase_subject(uuid, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gdpr.erase_subject(uuid, boolean, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION gdpr.residue_scan(customer_id uuid, clear_values text[] DEFAULT '{}', kind text DEFAULT 'customer')
    RETURNS TABLE (object text, finding text, count bigint)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$ SELECT * FROM thorbis.residue_scan(kind, customer_id, clear_values) $function$;

COMMENT ON FUNCTION gdpr.residue_scan(uuid, text[], text) IS
    'What is left of a person of the current tenant after an erasure; clear_values are searched in every column that holds text. Needs gdpr:inspect. No rows: nothing is left';
REVOKE ALL ON FUNCTION gdpr.residue_scan(uuid, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gdpr.residue_scan(uuid, text[], text) TO thorbis_app, thorbis_platform;

-- A tenant writes table and column, an operator runs what becomes of them: only the name of a protected table and of a
-- column of PostgreSQL's own types gets into the text, so that no view, operator or function of a tenant's is run.
CREATE FUNCTION gdpr.get_retention_target(table_name text, timestamp_column text, action text,
        OUT subject_kind text, OUT due text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
DECLARE
    target regclass := to_regclass(table_name);
    options jsonb;
    subject jsonb;
    tenant text;
    person text;
    parent regclass;
    parent_key text;
    is_deletable boolean;
BEGIN
    SELECT p.options INTO options FROM thorbis.v_protected_tables p WHERE p.table_id = target AND p.resource <> 'rbac';
    IF options IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'not a protected table with business data';
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_attribute a
        WHERE a.attrelid = target AND a.attname = timestamp_column AND a.attnum > 0 AND NOT a.attisdropped
            AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_column', MESSAGE = 'no such column of a date or a time';
    END IF;
    tenant := format('t.%I = $1', options ->> 'tenant_column');
    -- Not logs, and not the tenant itself.
    is_deletable := options -> 'actions' ? 'delete';

    -- The person a row is about, along the tables that lead there.
    subject := options -> 'subject';
    subject_kind := subject ->> 'kind';
    person := 't.' || quote_ident(subject ->> 'column');
    FOR step IN 1 .. 10 LOOP
        EXIT WHEN subject ->> 'through' IS NULL;
        parent := to_regclass(subject ->> 'through');
        SELECT p.options INTO options FROM thorbis.v_protected_tables p WHERE p.table_id = parent;
        subject := options -> 'subject';
        IF subject IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'a table on the way to the person is missing';
        END IF;
        SELECT a.attname INTO parent_key
        FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = parent AND i.indisprimary AND a.attname <> options ->> 'tenant_column';
        person := format('(SELECT p.%I FROM %s p WHERE p.%I = $1 AND p.%I = %s)', subject ->> 'column', parent,
            options ->> 'tenant_column', parent_key, person);
    END LOOP;
    IF subject ->> 'through' IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = 'the way to the person is too long';
    END IF;

    IF action = 'delete' AND is_deletable THEN
        due := format('FROM %s t WHERE %s AND t.%I < $2', target, tenant, timestamp_column);
        IF subject_kind IS NOT NULL THEN
            due := due || format(
                ' AND NOT EXISTS (SELECT FROM gdpr.legal_holds h WHERE h.tenant_id = $1 AND h.released_at IS NULL'
                ' AND h.subject_kind = %L AND h.subject_id = %s)', subject_kind, person);
        END IF;
    ELSIF action = 'erase_subject' AND subject_kind IS NOT NULL THEN
        -- Who was erased is due again only for rows that came later.
        due := format(
            'FROM (SELECT %1$s AS subject_id, max(t.%2$I) AS newest FROM %3$s t WHERE %4$s GROUP BY 1) s'
            ' WHERE s.subject_id IS NOT NULL AND s.newest < $2'
            ' AND NOT EXISTS (SELECT FROM gdpr.legal_holds h WHERE h.tenant_id = $1 AND h.released_at IS NULL'
            ' AND h.subject_kind = %5$L AND h.subject_id = s.subject_id)'
            ' AND NOT EXISTS (SELECT FROM gdpr.erasures e WHERE e.tenant_id = $1'
            ' AND e.subject_kind = %5$L AND e.subject_id = s.subject_id AND e.at >= s.newest)',
            person, timestamp_column, target, tenant, subject_kind);
    ELSE
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = 'this is not done to rows of that table';
    END IF;
END
$function$;

COMMENT ON FUNCTION gdpr.get_retention_target(text, text, text) IS
    'What a retention policy acts on, as the end of a statement with the tenant and the time as parameters';
REVOKE ALL ON FUNCTION gdpr.get_retention_target(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gdpr.get_retention_target(text, text, text) TO thorbis_app, thorbis_platform;

CREATE FUNCTION gdpr.calculate_retention_due(tenant_id uuid, table_name text, timestamp_column text, action text,
        cutoff timestamptz) RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
DECLARE
    due_count bigint;
BEGIN
    EXECUTE 'SELECT count(*) ' || (SELECT t.due FROM gdpr.get_retention_target($2, $3, $4) t)
        INTO due_count USING $1, $5;
    RETURN due_count;
EXCEPTION
    -- A policy that cannot be applied must not hide the others.
    WHEN OTHERS THEN
        RETURN NULL;
END
$function$;

COMMENT ON FUNCTION gdpr.calculate_retention_due(uuid, text, text, text, timestamptz) IS
    'How many rows or people a retention policy would act on, as far as the caller may see them; NULL when it cannot be applied';
REVOKE ALL ON FUNCTION gdpr.calculate_retention_due(uuid, text, text, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gdpr.calculate_retention_due(uuid, text, text, text, timestamptz)
    TO thorbis_app, thorbis_platform;

CREATE FUNCTION gdpr.apply_retention(dry_run boolean DEFAULT true)
    RETURNS TABLE (tenant_id uuid, table_name text, action text, rows_affected bigint, error_code text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $function$
#variable_conflict use_column
DECLARE
    policy record;
    target record;
    person uuid;
    cutoff timestamptz;
    only_tenant uuid := @extschema@.get_current_tenant_id();
BEGIN
    FOR policy IN
        SELECT p.tenant_id, p.table_name, p.timestamp_column, p.period, p.action
        FROM gdpr.retention_policies p
            JOIN shared.tenants t ON t.id = p.tenant_id
        WHERE p.is_active AND (only_tenant IS NULL OR p.tenant_id = only_tenant) AND NOT t.legal_hold
            AND NOT EXISTS (
                SELECT FROM gdpr.legal_holds h
                WHERE h.tenant_id = p.tenant_id AND h.subject_id IS NULL AND h.released_at IS NULL)
        ORDER BY p.tenant_id, p.table_name, p.id
    LOOP
        tenant_id := policy.tenant_id;
        table_name := policy.table_name;
        action := policy.action;
        rows_affected := 0;
        error_code := NULL;
        BEGIN
            cutoff := now() - policy.period;
            SELECT t.subject_kind, t.due INTO STRICT target
            FROM gdpr.get_retention_target(policy.table_name, policy.timestamp_column, policy.action) t;
            IF dry_run THEN
                EXECUTE 'SELECT count(*) ' || target.due INTO rows_affected USING policy.tenant_id, cutoff;
            ELSIF policy.action = 'delete' THEN
                EXECUTE 'DELETE ' || target.due USING policy.tenant_id, cutoff;
                GET DIAGNOSTICS rows_affected = ROW_COUNT;
            ELSE
                PERFORM set_config('app.current_tenant_id', policy.tenant_id::text, true);
                FOR person IN EXECUTE 'SELECT s.subject_id ' || target.due USING policy.tenant_id, cutoff LOOP
                    BEGIN
                        PERFORM FROM thorbis.erase_subject(target.subject_kind, person, false);
                        rows_affected := rows_affected + 1;
                    EXCEPTION
                        -- One person who cannot be erased does not keep the others.
                        WHEN OTHERS THEN
                            error_code := SQLSTATE;
                    END;
                END LOOP;
            END IF;
        EXCEPTION
            -- The code alone: a message can hold what is to be erased.
            WHEN OTHERS THEN
                rows_affected := 0;
                error_code := SQLSTATE;
        END;
        PERFORM set_config('app.current_tenant_id', coalesce(only_tenant::text, ''), true);
        RETURN NEXT;
    END LOOP;
END
$function$;

COMMENT ON FUNCTION gdpr.apply_retention(boolean) IS
    'Applies the active retention policies of all tenants, or of the current one when there is one, but for those under a hold. A policy that fails is reported with its SQLSTATE and stops no other. For a scheduled job of thorbis_platform; only counts unless dry_run => false';
REVOKE ALL ON FUNCTION gdpr.apply_retention(boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gdpr.apply_retention(boolean) TO thorbis_platform;
