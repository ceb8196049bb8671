"""Pure folds over events: what a log says, from one angle each."""
