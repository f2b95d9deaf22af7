"""What is done by the clock: what is due, and who does it, once over all processes."""
