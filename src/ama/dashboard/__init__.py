"""The dashboard: pages about one store, served to a browser or written as files. It only reads."""
