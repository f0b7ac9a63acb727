"""Contracts first, then units, flows over real services, and damaged repositories. See pyproject.toml for what runs."""
