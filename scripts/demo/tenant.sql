-- The operator: one tenant with its owner. Everything else its own people do.
SELECT thorbis.create_tenant(name => :'name', slug => :'slug', owner_id => (:'key' || '-0000-4000-8000-000000000011')::uuid,
                             owner_email => 'owner@' || :'slug' || '.example', industries => '{restaurants}',
                             timezone => :'timezone', id => :'tenant');
