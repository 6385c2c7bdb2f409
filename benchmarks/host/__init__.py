"""Our host tier beside SGLang's, on the same requests and the same bytes."""
