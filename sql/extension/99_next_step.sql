-- CREATE EXTENSION mutes notices of its script; this one is for the person who typed it.
DO $$
BEGIN
    SET LOCAL client_min_messages = notice;
    RAISE NOTICE 'thorbis_db is created. Next: SELECT thorbis.install();';
END
$$;
