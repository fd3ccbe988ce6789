"""Named protocols: which streams, draws and rows a comparison consists of."""
