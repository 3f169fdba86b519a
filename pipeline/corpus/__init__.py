"""Files to documents, groups, folds and passages."""
