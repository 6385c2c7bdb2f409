"""Version-checked patches of SGLang, one concern a file."""
