"""The kinds of leaf: conditions that have no conditions below them, one module per kind."""
