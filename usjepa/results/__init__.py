"""Which runs a table is made of, running what is missing, and the files, tables and comparisons that come of them."""
