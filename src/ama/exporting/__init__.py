"""Taking out what is there: assets as plain files, for those who have no ama."""
