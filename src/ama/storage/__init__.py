"""Bytes under names at a URL: a directory, a bucket, a server. It knows nothing of objects.

- **storage**: it reads ranges in batches, and creates a name only if it is absent.
- **backend**: a kind of URL, such as `s3://`, with its needs and abilities.
- **client**: the few requests, of a backend's library, that a storage across a network uses.
- **credential**: a proof of who asks. Ama writes none down, prints none, and takes none in a URL.
- **member**: an account that may write into the directory of a shared store.
"""
