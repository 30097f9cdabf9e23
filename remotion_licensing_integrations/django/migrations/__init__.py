"""
The table's versions.
"""
