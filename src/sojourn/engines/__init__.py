"""Places to keep sessions: each engine carries out the same verbs and keeps the same promises (`contract`)."""
