"""
A cellar: what several packages need and no package is about.
"""
