"""The host's rows, seen as records."""
