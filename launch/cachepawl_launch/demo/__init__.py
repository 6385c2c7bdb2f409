"""`make demo`: a real server, a small hybrid model, and what the cache does for a conversation."""
