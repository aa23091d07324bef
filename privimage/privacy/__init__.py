"""Privacy: what may be spent, what each access costs, and the books of what was paid. Imports without torch."""
