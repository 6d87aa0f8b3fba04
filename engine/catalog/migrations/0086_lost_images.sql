-- Images whose last copy here was lost, and of which nobody has accepted that yet.
CREATE INDEX images_lost ON images (id) WHERE state = 'lost';
