"""The small matrices that are trained: their kinds, and the files they are kept in."""
