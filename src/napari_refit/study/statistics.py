"""What the rows of a study say: figures with intervals, and paired comparisons."""
