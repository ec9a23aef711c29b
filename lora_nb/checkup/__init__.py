"""Is this machine ready to train? The doctor looks at packages, GPU, memory, disk and keys, and can mend some of it."""
