"""Workflows as pictures and as text: `layout` places their nodes, `svg`, `mermaid` and `text` write them."""
