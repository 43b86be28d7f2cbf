-- What can be permitted on the engines that every industry shares, and what the roles of the templates may do with them.
-- Their tables are in schema shared, which comes before this one.

INSERT INTO rbac.permissions (resource, action, description)
SELECT r.resource, a.action, a.verb || ' ' || r.noun
FROM (VALUES
        ('number_series', 'number series'),
        ('status_history', 'the history of documents'),
        ('taxes', 'tax jurisdictions and rates'),
        ('invoices', 'invoices and credit notes'),
        ('payments', 'payments, allocations and refunds'),
        ('cash', 'cash sessions and movements'),
        ('gift_cards', 'gift cards'),
        ('loyalty', 'loyalty accounts and points'),
        ('stock', 'stock, its movements and counts'),
        ('bookings', 'bookings, resources and time off'),
        ('outbox', 'events for other systems'),
        ('idempotency', 'requests that must not be done twice'),
        ('subscriptions', 'the subscription of the tenant and its usage')
    ) AS r (resource, noun)
    CROSS JOIN (VALUES
        ('read', 'Read'),
        ('create', 'Create'),
        ('update', 'Change'),
        ('delete', 'Delete'),
        ('admin', 'Do everything with, beyond every rule that binds others,')
    ) AS a (action, verb);

INSERT INTO rbac.permissions (resource, action, description) VALUES
    ('invoices', 'issue', 'Issue an invoice or a credit note: it gets its number and is frozen'),
    ('invoices', 'void', 'Void an invoice that nobody paid'),
    ('payments', 'record', 'Record a payment and say what it pays'),
    ('payments', 'refund', 'Pay back, within the approval limit of the role'),
    ('payments', 'void', 'Void a payment that was not captured'),
    ('gift_cards', 'activate', 'Activate and load a gift card'),
    ('gift_cards', 'redeem', 'Pay with a gift card'),
    ('gift_cards', 'adjust', 'Change the balance of a gift card, block and deactivate it'),
    ('loyalty', 'redeem', 'Spend the points of a customer'),
    ('loyalty', 'adjust', 'Give and take points'),
    ('stock', 'move', 'Move stock and reserve it'),
    ('stock', 'adjust', 'Correct stock: counts, waste, what was found'),
    ('outbox', 'consume', 'Fetch events for another system and confirm them');

INSERT INTO rbac.role_template_permissions (role_template_code, resource, action)
SELECT 'manager', r.resource, r.action
FROM (VALUES ('number_series', 'read'), ('status_history', 'read'), ('taxes', 'admin'), ('invoices', 'admin'),
        ('payments', 'admin'), ('cash', 'admin'), ('gift_cards', 'admin'), ('loyalty', 'admin'), ('stock', 'admin'),
        ('bookings', 'admin'), ('outbox', 'read'), ('idempotency', 'admin'), ('subscriptions', 'read')
    ) AS r (resource, action);

INSERT INTO rbac.role_template_permissions (role_template_code, resource, action) VALUES
    ('employee', 'taxes', 'read'),
    ('employee', 'stock', 'read'),
    ('employee', 'bookings', 'read');
