"""What CAMUS outlines (section 3), in the order of its labels 0 to 3."""

STRUCTURES = ("background", "LV endo", "LV epi", "LA")
