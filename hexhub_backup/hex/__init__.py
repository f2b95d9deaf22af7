"""Hex: package files as its clients read them."""
