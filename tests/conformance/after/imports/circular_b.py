import circular_a as a
