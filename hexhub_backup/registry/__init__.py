"""The host's rows, seen as records.

An operation knows `base.Registry`; `sqlalchemy.SQLAlchemyRegistry` is the one of a host's models.
`mapping` resolves those once. A record then takes one of these ways:

- create: `reading/snapshot.py` streams the rows of one moment as records.
- inspect: `comparing/` puts the archive's records into a temporary table (`staging.py`) beside the
  host's rows of the same keys (`matching.py`), finds what can't be written (`blocking.py`, and
  what the database holds unique, `unique_indexes.py`, `unique_conflicts.py`) and says what each
  record is (`comparison.py`).
- restore: the same again inside of the decision, then `deciding/writing.py` writes the rows, and
  `deciding/bisection.py` names those that the database refuses.
- undo: `undoing/` removes what the restore created, but not what other tables refer to by now
  (`foreign_keys.py`), and writes what was there before as a restore does.

`restoration.py` is the object that inspect, restore and undo hold on the way.
"""
