"""The event log: every call that changed the cache, with what it answered, on disk.

    RecordingCache -> Sender -> (pipe) -> writer process: Encoder -> Parts -> files
    scheduler         thread              hashes, JSON              compression, rotation

`cachepawl.offline.recorded` reads it back.
"""
