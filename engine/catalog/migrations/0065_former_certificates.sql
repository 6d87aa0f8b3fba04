-- Certificates of a client that are not believed any more, as [serial, until]: what has ended is forgotten.
ALTER TABLE clients ADD COLUMN former TEXT NOT NULL DEFAULT '[]';
UPDATE clients SET former =
    (SELECT json_group_array(json_array(value, 9000000000000000000)) FROM json_each(clients.former_serials))
    WHERE former_serials != '[]';
ALTER TABLE clients DROP COLUMN former_serials;
