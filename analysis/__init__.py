"""Analysis: what the records, the ledger and the store of a run say. Reads them only; never imports ray.

front      the best trials, pure functions         plot       the front as a picture
tables     rows and CSV                            pictures   sample grids
compare    sentences about the comparison rows     spend      what was paid, in words
report     one HTML file                           export     the best checkpoint as a folder
synthesise images from such a folder
"""
