"""Physics checks for any potential."""
