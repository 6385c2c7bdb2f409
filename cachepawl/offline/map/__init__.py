"""`cachepawl map`: the tree and the frames of a cache, live, recorded or saved, as a picture."""
