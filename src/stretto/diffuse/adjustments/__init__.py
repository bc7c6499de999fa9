"""One file per part: what earlier steps make of a prediction."""
