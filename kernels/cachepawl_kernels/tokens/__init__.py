"""Token ids of page runs."""
