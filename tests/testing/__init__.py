"""The suites of `hexhub_backup.testing`: what they hold, and that they can fail."""
