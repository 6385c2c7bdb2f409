"""The host tier in a server."""
