"""What the documentation shows of the code: tables and API pages, made from the objects themselves."""
