DELETE FROM rbac.role_template_permissions
WHERE role_template_code IN ('manager', 'employee')
    AND resource IN ('menu', 'tables', 'orders', 'kitchen');

DELETE FROM rbac.role_templates WHERE code IN ('server', 'host', 'kitchen', 'cashier');
