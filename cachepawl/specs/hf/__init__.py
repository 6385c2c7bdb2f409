"""Readers of Hugging Face configurations, one family a file."""
