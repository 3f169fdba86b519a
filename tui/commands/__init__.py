"""The commands, one module each; none of them imports a heavy library."""
