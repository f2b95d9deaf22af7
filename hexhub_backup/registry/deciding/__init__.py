"""A decision: staged records are written, and those that the database refuses are named."""
