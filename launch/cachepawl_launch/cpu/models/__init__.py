"""The model classes of the tiny families, for ``SGLANG_EXTERNAL_MODEL_PACKAGE``.

With it SGLang imports these instead of all its model files, which shortens every start.
"""
