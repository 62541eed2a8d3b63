"""Where labels come from: methods that compute them, and the engine that runs methods at any scale."""
