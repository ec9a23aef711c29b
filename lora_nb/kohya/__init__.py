"""Settings from Kohya's programs, brought over key by key; nothing is dropped in silence."""
