"""Sentences that the command line and the dashboard share: the library itself returns facts.

- **hint**: a step that would help, as a code and facts; here are the words for each code.
"""
