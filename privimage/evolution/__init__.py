"""Private Evolution: images of a public generator, of which sensitive images vote for the nearest, round by round."""
