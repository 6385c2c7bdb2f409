"""Triton kernels for the arena and their torch references."""
