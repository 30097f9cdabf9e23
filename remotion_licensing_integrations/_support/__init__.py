"""
Helpers that several packages need and that belong to none of them.
"""
