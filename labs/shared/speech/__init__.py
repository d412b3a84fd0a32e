"""Speech: synthesis, acoustic features, sentences to read aloud."""
