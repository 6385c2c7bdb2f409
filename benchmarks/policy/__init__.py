"""Hit rates of policies, of SGLang's own tree and of bounds, on the same requests and bytes."""
