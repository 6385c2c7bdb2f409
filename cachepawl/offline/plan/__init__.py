"""What a model's cache holds on given GPUs: SGLang's static split beside one budget."""
