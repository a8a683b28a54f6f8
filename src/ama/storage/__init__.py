"""Bytes under names at a URL: a directory, a bucket, a server. It knows nothing of objects.

- **storage**: what reads ranges in batches, and creates a name only if it is absent.
- **backend**: a kind of URL, such as `s3://`, with what it needs and can do.
- **client**: the few requests of a backend's library that a storage across a network is built on.
- **credential**: what proves who asks. None is written down, printed or taken in a URL.
- **member**: an account that may write into the directory of a shared store.
"""
