"""Which assets were made from which: a graph as a value, and drawings of it.

- **graph**: assets as nodes, refs and parents as edges; it has no circles.
- **layer**: a column of the picture; every edge leads to a later one.
- **cell**: a place in a layer: a box, or a point on the way of an edge.
"""
