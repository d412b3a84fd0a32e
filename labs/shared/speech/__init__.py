"""Speech: synthesis, features, crops of utterances."""
