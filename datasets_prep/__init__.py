"""Preparation of data sets: from downloaded images to checked LMDBs and folders."""
