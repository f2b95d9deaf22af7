"""What is remembered: backups, operations, decisions and audit events."""
