"""UI: the Gradio page, its API and MCP tools, and what keeps visitors apart and requests in check."""
