"""Judge a LoRA: grids of pictures, and the figures that show them."""
