"""The OpenAPI document of an API: from what its constructs tell of it, and from the signatures of its tasks."""
