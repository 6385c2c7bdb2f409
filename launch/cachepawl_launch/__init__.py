"""SGLang integration: the only room, with the patches, that imports SGLang."""
