"""The parts of bench/converge and bench/release."""
