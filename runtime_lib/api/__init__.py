"""Requests of an API: a task's parameters from them, and answers to them."""
