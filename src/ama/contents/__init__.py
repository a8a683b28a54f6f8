"""What is inside files: lines of text, tensors; and what of it differs between two files.

- **form**: how a file is read: as text, safetensors, HDF5, or as bytes only.
- **tensor**: a named array in a file: its type, its shape, the hash of its values.
- **piece**: the next bytes of a file that is read forward, verified as it streams by.
"""
