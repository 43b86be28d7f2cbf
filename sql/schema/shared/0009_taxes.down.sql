DROP FUNCTION shared.apply_invoice_taxes(uuid, text);

DROP FUNCTION shared.get_line_taxes(uuid, date, text, text);

DROP FUNCTION shared.get_taxes(uuid, date, text[], text);

DROP FUNCTION shared.list_tax_rates(uuid, date, text[], text);

ALTER TABLE shared.locations DROP COLUMN tax_jurisdiction_id;

DROP TABLE shared.tax_rates;

DROP TABLE shared.tax_jurisdictions;

DROP TABLE shared.currencies;
