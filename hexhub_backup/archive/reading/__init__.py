"""An archive that may be hostile in, checked records and files out."""
