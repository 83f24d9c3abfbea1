"""The kinds of leaf, which are conditions without conditions below them: one module per kind."""
