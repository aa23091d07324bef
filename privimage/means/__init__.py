"""One noisy mean per label: a private answer that says what images of a label look like, and what follows from it."""
