"""Draw figures as plain Plotly dictionaries."""
