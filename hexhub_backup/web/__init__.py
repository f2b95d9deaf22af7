"""The admin pages and the live channel: what a browser sees of the jobs and the history."""
