"""One module per construct: what the construct sets as its function's Handler."""
