"""Programs that show the extension at work."""
