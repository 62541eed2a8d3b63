"""What numbers prove, and how they are drawn: means, intervals, comparisons, panels and colours."""
