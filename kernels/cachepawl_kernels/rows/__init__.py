"""Release of rows."""
