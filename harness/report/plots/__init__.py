"""Draw each picture as a plain Plotly dictionary; one file renders them."""
