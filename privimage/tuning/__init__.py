"""Private selection: the law of the number of trials, and what releasing the best of them costs."""
