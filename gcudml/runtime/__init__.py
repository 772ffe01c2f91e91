"""Seeds, timers, memory, files and fused execution; nothing here depends on the learning code."""
