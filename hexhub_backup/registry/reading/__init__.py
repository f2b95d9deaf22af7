"""A create: the host's rows, streamed as records."""
