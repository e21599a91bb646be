"""Everything that is drawn, from results alone."""
