-- Repeatable: replaced whenever this text changes. All views run with the rights and policies of whoever asks.

-- Money that is owed, and whether documents and ledgers agree.

CREATE OR REPLACE VIEW shared.v_accounts_receivable_aging WITH (security_invoker = true) AS
SELECT i.tenant_id, i.customer_id, i.currency, count(*) AS invoices,
    sum(o.open_amount) FILTER (WHERE o.days <= 0) AS not_due,
    sum(o.open_amount) FILTER (WHERE o.days BETWEEN 1 AND 30) AS days_1_to_30,
    sum(o.open_amount) FILTER (WHERE o.days BETWEEN 31 AND 60) AS days_31_to_60,
    sum(o.open_amount) FILTER (WHERE o.days BETWEEN 61 AND 90) AS days_61_to_90,
    sum(o.open_amount) FILTER (WHERE o.days > 90) AS days_over_90,
    sum(o.open_amount) AS total
FROM shared.invoices i
    JOIN shared.tenants t ON t.id = i.tenant_id
    CROSS JOIN LATERAL (
        SELECT i.total - i.paid_total - i.credited_total AS open_amount,
            (now() AT TIME ZONE t.timezone)::date
                - coalesce(i.due_date, (i.issued_at AT TIME ZONE t.timezone)::date) AS days) o
WHERE i.status IN ('issued', 'partially_paid', 'overdue')
GROUP BY i.tenant_id, i.customer_id, i.currency;

COMMENT ON VIEW shared.v_accounts_receivable_aging IS
    'What each customer owes, by how long it is overdue in the time zone of the tenant. Needs invoices:read and tenants:read';
COMMENT ON COLUMN shared.v_accounts_receivable_aging.tenant_id IS 'The tenant';
COMMENT ON COLUMN shared.v_accounts_receivable_aging.customer_id IS 'Who owes, NULL for those who are not known';
COMMENT ON COLUMN shared.v_accounts_receivable_aging.currency IS 'Currency of the amounts';
COMMENT ON COLUMN shared.v_accounts_receivable_aging.invoices IS 'How many invoices are open';
COMMENT ON COLUMN shared.v_accounts_receivable_aging.not_due IS 'What is not due yet';
COMMENT ON COLUMN shared.v_accounts_receivable_aging.days_1_to_30 IS 'Overdue for up to 30 days';
COMMENT ON COLUMN shared.v_accounts_receivable_aging.days_31_to_60 IS 'Overdue for 31 to 60 days';
COMMENT ON COLUMN shared.v_accounts_receivable_aging.days_61_to_90 IS 'Overdue for 61 to 90 days';
COMMENT ON COLUMN shared.v_accounts_receivable_aging.days_over_90 IS 'Overdue for longer';
COMMENT ON COLUMN shared.v_accounts_receivable_aging.total IS 'All that is owed';

GRANT SELECT ON shared.v_accounts_receivable_aging TO thorbis_app, thorbis_platform;

CREATE OR REPLACE VIEW shared.v_payment_reconciliation WITH (security_invoker = true) AS
WITH stored AS (
    SELECT i.tenant_id, 'invoice' AS document, i.id AS document_id, 'paid_total' AS measure, i.paid_total AS stored,
        coalesce((SELECT sum(a.amount) FROM shared.payment_allocations a
            WHERE a.tenant_id = i.tenant_id AND a.invoice_id = i.id), 0) AS ledger
    FROM shared.invoices i
    UNION ALL
    SELECT i.tenant_id, 'invoice' AS document, i.id AS document_id, 'credited_total' AS measure,
        i.credited_total AS stored,
        coalesce((SELECT sum(c.total) FROM shared.credit_notes c
            WHERE c.tenant_id = i.tenant_id AND c.invoice_id = i.id), 0) AS ledger
    FROM shared.invoices i
    UNION ALL
    SELECT i.tenant_id, 'invoice' AS document, i.id AS document_id, 'is settled' AS measure,
        (i.status IN ('paid', 'credited'))::int AS stored,
        (i.paid_total + i.credited_total >= i.total)::int AS ledger
    FROM shared.invoices i
    WHERE i.status NOT IN ('draft', 'void')
    UNION ALL
    SELECT p.tenant_id, 'payment' AS document, p.id AS document_id, 'allocated_total' AS measure,
        p.allocated_total AS stored,
        coalesce((SELECT sum(a.amount) FROM shared.payment_allocations a
            WHERE a.tenant_id = p.tenant_id AND a.payment_id = p.id), 0) AS ledger
    FROM shared.payments p
    UNION ALL
    SELECT p.tenant_id, 'payment' AS document, p.id AS document_id, 'refunded' AS measure,
        p.refunded_amount + p.refunded_tip AS stored,
        coalesce((SELECT sum(r.amount + r.tip_amount) FROM shared.refunds r
            WHERE r.tenant_id = p.tenant_id AND r.payment_id = p.id), 0) AS ledger
    FROM shared.payments p
    UNION ALL
    SELECT c.tenant_id, 'credit_note' AS document, c.id AS document_id, 'net_total' AS measure,
        c.net_total AS stored,
        coalesce((SELECT sum(l.net) FROM shared.credit_note_lines l
            WHERE l.tenant_id = c.tenant_id AND l.credit_note_id = c.id), 0) AS ledger
    FROM shared.credit_notes c
    UNION ALL
    SELECT k.tenant_id, 'cash_session' AS document, k.id AS document_id, 'expected_amount' AS measure,
        k.expected_amount AS stored,
        k.opening_amount + coalesce((SELECT sum(m.amount) FROM shared.cash_movements m
            WHERE m.tenant_id = k.tenant_id AND m.cash_session_id = k.id), 0) AS ledger
    FROM shared.cash_sessions k
    WHERE k.status = 'closed'
)
SELECT s.tenant_id, s.document, s.document_id, s.measure, s.stored, s.ledger
FROM stored s
WHERE s.stored IS DISTINCT FROM s.ledger;

COMMENT ON VIEW shared.v_payment_reconciliation IS
    'Documents whose sums are not those of their ledgers. Must be empty. Whoever cannot read one of the two sees differences: needs invoices:read, payments:read and cash:read';
COMMENT ON COLUMN shared.v_payment_reconciliation.tenant_id IS 'The tenant';
COMMENT ON COLUMN shared.v_payment_reconciliation.document IS 'invoice, payment, credit_note or cash_session';
COMMENT ON COLUMN shared.v_payment_reconciliation.document_id IS 'Its key';
COMMENT ON COLUMN shared.v_payment_reconciliation.measure IS 'What differs';
COMMENT ON COLUMN shared.v_payment_reconciliation.stored IS 'What the document says';
COMMENT ON COLUMN shared.v_payment_reconciliation.ledger IS 'What its rows add up to';

GRANT SELECT ON shared.v_payment_reconciliation TO thorbis_app, thorbis_platform;

CREATE OR REPLACE VIEW shared.v_tax_liability_by_jurisdiction WITH (security_invoker = true) AS
WITH taxed AS (
    SELECT t.tenant_id, i.issued_at, i.currency, t.jurisdiction_code, t.code, t.category, t.taxable_amount, t.amount
    FROM shared.invoice_taxes t
        JOIN shared.invoices i ON i.tenant_id = t.tenant_id AND i.id = t.invoice_id
    WHERE i.status <> 'void'
    UNION ALL
    SELECT ct.tenant_id, c.issued_at, c.currency, t.jurisdiction_code, t.code, t.category, -ct.taxable_amount AS taxable_amount,
        -ct.amount AS amount
    FROM shared.credit_note_taxes ct
        JOIN shared.credit_notes c ON c.tenant_id = ct.tenant_id AND c.id = ct.credit_note_id
        JOIN shared.invoice_taxes t ON t.tenant_id = ct.tenant_id AND t.id = ct.invoice_tax_id
)
SELECT t.tenant_id, date_trunc('month', t.issued_at AT TIME ZONE n.timezone)::date AS month, t.jurisdiction_code, t.code,
    t.category, t.currency, sum(t.taxable_amount) AS taxable_amount, sum(t.amount) AS tax_amount
FROM taxed t
    JOIN shared.tenants n ON n.id = t.tenant_id
GROUP BY t.tenant_id, date_trunc('month', t.issued_at AT TIME ZONE n.timezone)::date, t.jurisdiction_code, t.code, t.category,
    t.currency;

COMMENT ON VIEW shared.v_tax_liability_by_jurisdiction IS
    'Taxes owed to each jurisdiction by the month of issue in the time zone of the tenant, credit notes taken off. Needs invoices:read and tenants:read';
COMMENT ON COLUMN shared.v_tax_liability_by_jurisdiction.tenant_id IS 'The tenant';
COMMENT ON COLUMN shared.v_tax_liability_by_jurisdiction.month IS 'First day of the month';
COMMENT ON COLUMN shared.v_tax_liability_by_jurisdiction.jurisdiction_code IS
    'Who levies it, empty for taxes that pricing gave';
COMMENT ON COLUMN shared.v_tax_liability_by_jurisdiction.code IS 'Which tax';
COMMENT ON COLUMN shared.v_tax_liability_by_jurisdiction.category IS 'Category of goods of the rate';
COMMENT ON COLUMN shared.v_tax_liability_by_jurisdiction.currency IS 'Currency of the amounts';
COMMENT ON COLUMN shared.v_tax_liability_by_jurisdiction.taxable_amount IS 'What it is due on';
COMMENT ON COLUMN shared.v_tax_liability_by_jurisdiction.tax_amount IS 'The tax';

GRANT SELECT ON shared.v_tax_liability_by_jurisdiction TO thorbis_app, thorbis_platform;

-- Ledgers: what is there, and what is owed.

CREATE OR REPLACE VIEW shared.v_stock_on_hand WITH (security_invoker = true) AS
SELECT b.tenant_id, b.stock_item_id, i.sku, i.name AS item_name, b.stock_location_id, l.name AS location_name, b.on_hand,
    b.reserved, b.on_hand - b.reserved AS available, b.incoming, i.unit
FROM shared.stock_balances b
    JOIN shared.stock_items i ON i.tenant_id = b.tenant_id AND i.id = b.stock_item_id
    JOIN shared.stock_locations l ON l.tenant_id = b.tenant_id AND l.id = b.stock_location_id;

COMMENT ON VIEW shared.v_stock_on_hand IS 'How much of each item is at each place. Needs stock:read';
COMMENT ON COLUMN shared.v_stock_on_hand.tenant_id IS 'The tenant';
COMMENT ON COLUMN shared.v_stock_on_hand.stock_item_id IS 'The item';
COMMENT ON COLUMN shared.v_stock_on_hand.sku IS 'Its number';
COMMENT ON COLUMN shared.v_stock_on_hand.item_name IS 'Its name';
COMMENT ON COLUMN shared.v_stock_on_hand.stock_location_id IS 'The place';
COMMENT ON COLUMN shared.v_stock_on_hand.location_name IS 'Its name';
COMMENT ON COLUMN shared.v_stock_on_hand.on_hand IS 'How much is there';
COMMENT ON COLUMN shared.v_stock_on_hand.reserved IS 'How much of it is promised';
COMMENT ON COLUMN shared.v_stock_on_hand.available IS 'How much can still be promised or moved';
COMMENT ON COLUMN shared.v_stock_on_hand.incoming IS 'How much is announced';
COMMENT ON COLUMN shared.v_stock_on_hand.unit IS 'What one is';

GRANT SELECT ON shared.v_stock_on_hand TO thorbis_app, thorbis_platform;

CREATE OR REPLACE VIEW shared.v_gift_card_liability WITH (security_invoker = true) AS
SELECT c.tenant_id, c.currency, count(*) AS cards, sum(c.balance) AS liability,
    sum(c.balance) FILTER (WHERE c.status = 'BLOCKED') AS blocked
FROM shared.gift_cards c
WHERE c.status IN ('ACTIVE', 'BLOCKED')
GROUP BY c.tenant_id, c.currency;

COMMENT ON VIEW shared.v_gift_card_liability IS 'What is owed to the holders of gift cards. Needs gift_cards:read';
COMMENT ON COLUMN shared.v_gift_card_liability.tenant_id IS 'The tenant';
COMMENT ON COLUMN shared.v_gift_card_liability.currency IS 'Currency of the amounts';
COMMENT ON COLUMN shared.v_gift_card_liability.cards IS 'How many cards are active or blocked';
COMMENT ON COLUMN shared.v_gift_card_liability.liability IS 'What is on them';
COMMENT ON COLUMN shared.v_gift_card_liability.blocked IS 'What of it is on blocked cards, NULL when none is';

GRANT SELECT ON shared.v_gift_card_liability TO thorbis_app, thorbis_platform;

CREATE OR REPLACE VIEW shared.v_loyalty_liability WITH (security_invoker = true) AS
SELECT l.tenant_id, a.loyalty_program_id, count(DISTINCT a.id) AS accounts, sum(l.points_remaining) AS points,
    sum(l.points_remaining) FILTER (WHERE l.expires_at < now() + interval '30 days') AS expiring_soon
FROM shared.loyalty_lots l
    JOIN shared.loyalty_accounts a ON a.tenant_id = l.tenant_id AND a.id = l.loyalty_account_id
WHERE l.points_remaining > 0 AND (l.expires_at IS NULL OR l.expires_at > now())
GROUP BY l.tenant_id, a.loyalty_program_id;

COMMENT ON VIEW shared.v_loyalty_liability IS 'Points that customers can spend. Needs loyalty:read';
COMMENT ON COLUMN shared.v_loyalty_liability.tenant_id IS 'The tenant';
COMMENT ON COLUMN shared.v_loyalty_liability.loyalty_program_id IS 'The program';
COMMENT ON COLUMN shared.v_loyalty_liability.accounts IS 'How many accounts have any';
COMMENT ON COLUMN shared.v_loyalty_liability.points IS 'How many there are';
COMMENT ON COLUMN shared.v_loyalty_liability.expiring_soon IS 'How many of them expire within 30 days, NULL when none do';

GRANT SELECT ON shared.v_loyalty_liability TO thorbis_app, thorbis_platform;
