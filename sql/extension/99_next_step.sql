DO $$
BEGIN
    RAISE NOTICE 'thorbis_db is created. Next: SELECT thorbis.install();';
END
$$;
