"""The uploader: fetches stacks from the telescopes into the archive and delivers them, with retry."""
