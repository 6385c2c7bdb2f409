"""A CPU platform for stock SGLang: reference kernels in plain torch, and tiny models to run.

It serves hybrid models without a GPU, slowly and exactly, so that the cache can be tested under
the real server. Selected with ``SGLANG_PLATFORM=cachepawl_cpu`` and inert otherwise.
"""
