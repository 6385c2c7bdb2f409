"""What a configuration of SGLang 0.5.23 holds, told from its model, its flags and its memory."""
