"""Reads the event log of a server: runs it again, exactly, or hands out its requests."""
