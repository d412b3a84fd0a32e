"""`labs scale`: how a lab's speed grows with its workers, and what keeps it from growing."""
