"""Pictures and captions on disk: find them, check them, group them, count the steps. Needs no torch."""
