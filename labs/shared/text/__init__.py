"""Text: passages, tokens, spans that answer questions."""
