"""From image files to the LMDBs that training reads."""
