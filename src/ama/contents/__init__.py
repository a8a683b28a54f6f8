"""What is inside files: lines of text, tensors; and what of it differs between two files."""
