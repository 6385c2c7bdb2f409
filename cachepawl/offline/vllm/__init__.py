"""What a vLLM cache plan reserves, needs and wastes, from the files that describe it."""
