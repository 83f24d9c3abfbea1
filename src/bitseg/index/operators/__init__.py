"""The conditions of the language over the stored columns: one module for each kind of operator."""
