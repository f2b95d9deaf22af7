"""Records and files in, one archive out."""
