"""Answers that are out before the invocation ends: early, or in parts as they are written."""
