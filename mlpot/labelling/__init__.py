"""Where labels come from: methods that compute them, and runs in which every frame is labelled once."""
