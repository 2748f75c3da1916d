-- Who holds an inventory, in order: for the question which devices hold a component.
CREATE INDEX device_inventories_by_holder ON device_inventories (org, digest, device);
DROP INDEX device_inventories_by_digest;
