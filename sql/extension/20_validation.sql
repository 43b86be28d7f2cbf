-- Numbers that carry a check digit.

CREATE FUNCTION is_valid_vin(number text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'is_valid_vin_wrapper';
COMMENT ON FUNCTION is_valid_vin(text) IS
    'Whether a text is a vehicle identification number: 17 digits and capital letters without I, O and Q, with the check digit of 49 CFR 565.15. Numbers from outside North America may have none';
REVOKE ALL ON FUNCTION is_valid_vin(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_valid_vin(text)
    TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION is_valid_gtin(number text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'is_valid_gtin_wrapper';
COMMENT ON FUNCTION is_valid_gtin(text) IS
    'Whether a text is a trade item number, as under bar codes: 8, 12, 13 or 14 digits, the last of which checks the others';
REVOKE ALL ON FUNCTION is_valid_gtin(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_valid_gtin(text)
    TO thorbis_owner, thorbis_gateway, thorbis_app, thorbis_platform, thorbis_auditor;

CREATE FUNCTION validate_vin() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_validate_vin';
COMMENT ON FUNCTION validate_vin() IS
    'BEFORE INSERT OR UPDATE row trigger: the column holds a vehicle identification number (23514), kept in capitals. Arguments: the column; the column of the model year (integer), before 1981 nothing is asked; a boolean column that says whether the check digit is asked, by default for numbers of North America';
REVOKE ALL ON FUNCTION validate_vin() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION validate_vin() TO thorbis_owner;

CREATE FUNCTION validate_gtin() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'thorbis_validate_gtin';
COMMENT ON FUNCTION validate_gtin() IS
    'BEFORE INSERT OR UPDATE row trigger: the column holds a trade item number (23514). Argument: the column';
REVOKE ALL ON FUNCTION validate_gtin() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION validate_gtin() TO thorbis_owner;
