"""What a worktree and its stores do together; one module a subject, used by the public face."""
