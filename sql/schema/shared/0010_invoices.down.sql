DROP VIEW IF EXISTS shared.v_accounts_receivable_aging;

DROP FUNCTION shared.void_invoice(uuid, text);

DROP FUNCTION shared.issue_invoice(uuid);

DROP TABLE shared.invoice_taxes;

DROP TABLE shared.invoice_lines;

DROP TABLE shared.invoices;

DELETE FROM shared.state_transitions WHERE document = 'invoice';
