"""A host's `ModelMap`s, resolved to the tables, fields and references of the four kinds."""
