"""Model families: one file each, and the only place that knows what a Stable Diffusion is made of."""
