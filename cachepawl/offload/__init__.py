"""The host tier: what is copied between the tiers, and how.  Modules with torch say so."""
