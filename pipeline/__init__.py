"""Everything that embedsmith does without a screen."""
