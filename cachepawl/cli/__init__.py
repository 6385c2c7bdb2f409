"""The command line: options in, a function of `offline`, a report out."""
