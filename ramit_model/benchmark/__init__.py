"""`basicsr benchmark`: measures networks side by side, and reports.

`run.py` leads. measure/ works in processes of their own (`isolation.py`); every value is stored as it comes
(`measurements.py`). `results.py` holds everything that was found; report/ reads nothing else.
"""
