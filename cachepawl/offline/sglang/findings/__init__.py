"""Named hazards of an SGLang configuration.  Each check is a function of what is known."""
