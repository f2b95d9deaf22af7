"""Coordination by PostgreSQL alone: for processes on several machines, which share no directory."""
