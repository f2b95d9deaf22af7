"""Places elsewhere that backups are copied to: the protocol, a directory, and a bucket of S3."""
