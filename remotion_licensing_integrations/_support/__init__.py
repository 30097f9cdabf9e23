"""
A cellar: what several packages need and none is about.
"""
