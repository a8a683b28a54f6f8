"""What a store holds, made askable: found, summed up and compared. A cache, filled as needed."""
