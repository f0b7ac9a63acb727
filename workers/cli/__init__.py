"""How a person starts the work by hand, and looks at what was done. One command a file; `main.py` is the way in."""
