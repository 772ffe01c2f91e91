"""Seeds, timers, memory and files: nothing that knows of learning."""
