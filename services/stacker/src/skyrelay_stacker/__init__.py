"""Takes frame events in, plans blocks and has the telescopes stack them. Never uploads."""
