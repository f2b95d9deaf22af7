"""The tar, and nothing but the tar."""
