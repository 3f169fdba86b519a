"""Everything that the user of embedsmith sees or types."""
