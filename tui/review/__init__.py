"""What the Review step shows and does, without Textual."""
