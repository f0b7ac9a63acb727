"""Git repositories: asked by the git executable, captured as items, and put back."""
