"""What keeps an output valid: grammars, the bridge from tokens to terminals, and what a canvas can still become."""
