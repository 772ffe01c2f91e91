"""Seeds, timers, memory, files and lockstep computation; nothing here knows about learning."""
