"""What is backed up: a `Source` for each kind, all of them in `kinds`."""
