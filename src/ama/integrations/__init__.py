"""Integrations: ama as part of other programs. They call its public face, and decide nothing."""
