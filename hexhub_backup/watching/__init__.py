"""What others ask about the backups as a whole, by our tables: right in any process."""
