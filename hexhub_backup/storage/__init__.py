"""Where package and docs files live."""
