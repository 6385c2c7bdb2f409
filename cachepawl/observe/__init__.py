"""Counters, miss reasons, text pictures of the cache."""
