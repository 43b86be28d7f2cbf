DROP VIEW IF EXISTS shared.v_tax_liability_by_jurisdiction;

DROP FUNCTION shared.credit_invoice(uuid, text, text, jsonb, numeric);

DROP TABLE shared.credit_note_taxes;

DROP TABLE shared.credit_note_lines;

DROP TABLE shared.credit_notes;

DROP TABLE shared.hash_chains;
