"""From a segment tree to its members: normalise, check, estimate, plan, evaluate."""
