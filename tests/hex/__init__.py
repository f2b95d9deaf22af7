"""Tests of Hex package files: what is read, and what a check finds."""
