"""What people said, folded into what is kept. Pure: no screen, no clock."""
