"""Running an operation: one at a time, told as it goes, and finished whatever happens."""
