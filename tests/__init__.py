"""
Tests of the package. A package by itself, because others on the index install a folder of this name.
"""
