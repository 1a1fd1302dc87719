"""The first run: what its pages need, apart from the pages."""
