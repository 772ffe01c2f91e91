"""Tools for agents, over MCP: they run studies, and see no test score before a confirmation."""
