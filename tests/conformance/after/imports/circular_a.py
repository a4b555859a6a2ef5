import circular_b as b
