"""What bench/serve adds to the example project: views with one thing to do each."""
