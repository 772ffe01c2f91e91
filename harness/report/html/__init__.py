"""Write the HTML of report pages."""
