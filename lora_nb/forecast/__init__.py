"""What will a training need? Memory and time, known before it starts."""
