"""Which structures a reference calculator is to label: sampling plans as recipes, and their making."""
