"""Parts of the question-answering labs: generated passages, tokenised questions, the reader and its span search."""
