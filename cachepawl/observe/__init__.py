"""Counters and text pictures of the cache."""
