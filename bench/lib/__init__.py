"""The parts of bench/converge."""
