"""What went wrong, in plain words, and what to do: a table of causes, and where it is looked up."""
