"""`basicsr benchmark`: measures networks side by side, and reports.

`run.py` leads. Measuring (`quality.py`, `cost.py`) happens in processes of their own (`isolation.py`); every result is
kept as it comes (`measurements.py`). `results.py` is what was found out; tables, plots, strips and page only read that.
"""
