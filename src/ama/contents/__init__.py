"""The inside of files: lines of text, tensors; and their differences between two files.

- **form**: the way to read a file: as text, safetensors, HDF5, or as bytes only.
- **tensor**: a named array in a file: its type, its shape, the hash of its values.
- **piece**: the next bytes of a file, verified as they stream by.
"""
