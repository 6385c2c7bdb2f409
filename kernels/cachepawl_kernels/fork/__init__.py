"""Fork of states."""
