"""Analysis: what the records, the ledger and the store of a run say. Reads them only; never imports ray.

pareto      which trials are best, pure functions     front       quality against epsilon: PNG, CSV, table
facts       what a run left behind, read once         pictures    sample grids
tables      rows for notebooks and files              compare     sentences about the comparison rows
scale       margins, base rates, far from real        details     a report's tables of trials
price       what has to be stated, and on what        spend       what was paid, in words
words       how numbers and names are written         report      one HTML file (page: its HTML)
export      the best generator as a folder            synthesise  images from such a folder (bundle: its files)
"""
