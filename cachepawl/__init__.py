"""cachepawl: a prefix cache for hybrid models (attention and SSM layers) served by SGLang."""

__version__ = "0.1.0"
