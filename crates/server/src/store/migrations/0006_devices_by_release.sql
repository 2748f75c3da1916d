-- Who runs a release: asked when a component is looked for in its bill of materials.
CREATE INDEX devices_by_release ON devices (org, firmware, id);
