"""Gather, scatter and transfer between arenas by ids."""
