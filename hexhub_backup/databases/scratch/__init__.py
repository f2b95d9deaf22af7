"""A scratch copy of the host's tables, empty, in which an archive is restored to try it."""
