"""Critics: what looks at whole answers and says how to go on."""
