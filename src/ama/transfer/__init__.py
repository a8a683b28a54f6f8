"""Between a worktree and a store: what is missing goes or comes, and nothing else."""
