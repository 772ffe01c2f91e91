"""Reports: load the data, work out the findings, draw them, write the HTML pages.

Import nothing here: the command line uses ``data`` without loading Plotly.
"""
