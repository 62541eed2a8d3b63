"""Where labels come from: classical force fields and sampling plans."""
