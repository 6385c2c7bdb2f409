"""How much of a byte budget lives, and what it costs in moved bytes.  See docs/benchmarks.md."""
