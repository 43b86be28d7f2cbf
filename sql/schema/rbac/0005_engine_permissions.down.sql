DELETE FROM rbac.permissions
 WHERE resource IN ('number_series', 'status_history', 'taxes', 'invoices', 'payments', 'cash', 'gift_cards', 'loyalty', 'stock',
                    'bookings', 'outbox', 'idempotency', 'subscriptions');
