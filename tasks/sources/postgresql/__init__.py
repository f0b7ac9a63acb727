"""PostgreSQL, part by part: connections, programs, the moment of a snapshot, rows, dumps, and the way back."""
