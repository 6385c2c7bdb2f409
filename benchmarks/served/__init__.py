"""Slices of traces, scaled to a tiny model, played on real servers."""
