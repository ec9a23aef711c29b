"""Settings that suit a subject, a model and a machine, each with its reason: small JSON files, put on each other."""
