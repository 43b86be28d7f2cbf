-- The baseline: what the requirements document has, in a schema of its own. Its functions and policies are as written
-- there. What it calls but does not give is written as simply as it can be: auth.uid() and auth.jwt() of Supabase,
-- has_permission() and set_updated_at_column().

CREATE SCHEMA auth;
CREATE SCHEMA document;
GRANT USAGE ON SCHEMA auth, document TO thorbis_app;

CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;

CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('app.current_user_id', true), '')::uuid $$;

CREATE FUNCTION document.get_current_tenant_id()
RETURNS UUID AS $$
BEGIN
    RETURN COALESCE(
        -- From explicit session variable
        (current_setting('app.current_tenant_id', true))::uuid,
        -- From JWT token
        (auth.jwt() ->> 'tenant_id')::uuid
    );
END;
$$ LANGUAGE plpgsql SECURITY DEFINER;

CREATE FUNCTION document.has_permission(user_id uuid, resource text, action text)
RETURNS boolean AS $$
DECLARE
    tenant uuid := document.get_current_tenant_id();
BEGIN
    RETURN EXISTS (
        SELECT 1
        FROM rbac.user_roles ur
            JOIN rbac.role_permissions rp ON rp.tenant_id = ur.tenant_id AND rp.role_id = ur.role_id
        WHERE ur.tenant_id = tenant AND ur.user_id = $1 AND rp.resource = $2 AND rp.action IN ($3, 'admin')
    );
END;
$$ LANGUAGE plpgsql SECURITY DEFINER;

CREATE FUNCTION document.set_updated_at_column()
RETURNS TRIGGER AS $$
BEGIN
    NEW.updated_at = NOW();
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;

-- It encrypts with pgcrypto, where the server has that. The application's key is in a setting.
CREATE FUNCTION document.encrypt_pii(plaintext text)
RETURNS TEXT AS $$
BEGIN
    IF plaintext IS NULL OR plaintext = '' THEN
        RETURN NULL;
    END IF;

    RETURN encode(
        pgp_sym_encrypt(
            plaintext,
            current_setting('app.encryption_key'),
            'compress-algo=1, cipher-algo=aes256'
        ),
        'base64'
    );
END;
$$ LANGUAGE plpgsql SECURITY DEFINER;

CREATE FUNCTION document.decrypt_pii(ciphertext text)
RETURNS TEXT AS $$
BEGIN
    IF ciphertext IS NULL OR ciphertext = '' THEN
        RETURN NULL;
    END IF;

    RETURN pgp_sym_decrypt(
        decode(ciphertext, 'base64'),
        current_setting('app.encryption_key')
    );
END;
$$ LANGUAGE plpgsql SECURITY DEFINER;

-- The same rows in the same order, with the document's primary key and indexes.
CREATE TABLE document.orders AS TABLE restaurants.orders;
ALTER TABLE document.orders ADD PRIMARY KEY (id);
CREATE INDEX ON document.orders (tenant_id);
CREATE INDEX ON document.orders (tenant_id, created_at DESC);
GRANT SELECT ON document.orders TO thorbis_app;

ALTER TABLE document.orders ENABLE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON document.orders
    USING (tenant_id = document.get_current_tenant_id());

CREATE POLICY admin_full_access ON document.orders
    FOR ALL
    USING (
        tenant_id = document.get_current_tenant_id()
        AND document.has_permission(auth.uid(), 'orders', 'admin')
    );

CREATE POLICY employee_read_orders ON document.orders
    FOR SELECT
    USING (
        tenant_id = document.get_current_tenant_id()
        AND document.has_permission(auth.uid(), 'orders', 'read')
    );
