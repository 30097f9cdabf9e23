"""
Timings, see `run.py`.
"""
