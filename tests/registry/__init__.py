"""The registry's tests, on two hosts of very different shape."""
