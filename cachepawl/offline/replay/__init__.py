"""Replays a trace through the very tree, frames and policies that serve.

scenario   what is replayed: a model on so many bytes under a policy
ways       how a request keeps states, as the server does
life       one request in the cache, from admission to its end
engine     which requests run: first in, first out
measures   what is counted, in few windows however long the trace
sweep      several scenarios and bounds at once, in processes
report     the result for people and programs
"""
