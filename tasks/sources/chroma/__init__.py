"""Chroma: its persist folder, copied at one moment; its server, exported; and both counted and read alike."""
