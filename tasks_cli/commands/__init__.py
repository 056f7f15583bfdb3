"""One module per group of commands; each imports what is slow to import inside the command that needs it."""
