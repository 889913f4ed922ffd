"""Servers that stand in for real ones where a matrix needs thousands of runs."""
