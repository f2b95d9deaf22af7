"""What differs by database: one file for each, all behind `base.Database`.

`known.database_of` says which one a connection is of. `connections` makes the connections of an
operation and their transactions, `errors` says what went wrong on them, `types` has the column
types that are spelled differently.
"""
