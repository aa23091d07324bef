"""A generator trained until means of features of its images are noisy means of the sensitive ones: kernel methods."""
