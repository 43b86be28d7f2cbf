DROP TABLE restaurants.menu_item_modifier_groups;

DROP TABLE restaurants.modifiers;

DROP TABLE restaurants.modifier_groups;

DROP TABLE restaurants.menu_items;

-- What protect() entered for the resource goes too, out of every role that held it.
DELETE FROM rbac.permissions WHERE resource = 'menu';

