"""Which assets were made from which: a graph as a value, and how it is drawn.

- **graph**: assets as nodes, refs and parents as edges; it has no circles.
- **layer**: a column of the picture; every edge leads to a later one.
- **cell**: a place in a layer: a box, or a point that an edge passes through.
"""
