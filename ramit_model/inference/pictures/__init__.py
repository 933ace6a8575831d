"""Picture files of any usual kind, in and out, with their metadata."""
