"""What is done: the verbs, and the nouns they work on. Who does it, and when, is in `workers`."""
