"""What a cache could have saved on a trace that is known from end to end."""
