"""Zero and poison by extents."""
