DROP TABLE shared.time_off;
DROP TABLE shared.bookings;
DROP FUNCTION shared.get_occupied_range(tstzrange, interval);
DROP TABLE shared.bookable_resources;
DELETE FROM shared.state_transitions WHERE document = 'booking';
