"""Train a LoRA. Start reading in loop.py."""
