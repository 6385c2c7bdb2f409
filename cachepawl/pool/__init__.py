"""The device arena: geometry, frames, page references; with torch: buffer and views."""
