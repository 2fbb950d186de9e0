"""How things look: text from outside made harmless, tables, the tree of a run, its end."""
