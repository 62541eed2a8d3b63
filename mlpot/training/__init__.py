"""Loss, training module, averaging of weights, exact resume."""
