DROP TABLE thorbis.key_rotations;

DROP TABLE thorbis.data_keys;
