"""What happens inside a process that trains."""
