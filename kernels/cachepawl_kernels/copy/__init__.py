"""Copy by extents."""
