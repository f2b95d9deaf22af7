"""The admin pages and the live channel: the jobs and the history in a browser."""
