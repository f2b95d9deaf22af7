"""Tests of the archive: the tar, its JSON members, what is written and what is refused."""
