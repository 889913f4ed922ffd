"""What the statistics of the evaluation say, tried on versions whose true difference is known."""
