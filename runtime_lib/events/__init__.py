"""What triggers deliver, as the types that a task asks for by an annotation."""
