"""Active learning: dynamics find what a potential does not know, a method labels it, it is learned."""
