"""Forms and panels for notebooks: a thin skin, and the only room that imports ipywidgets."""
