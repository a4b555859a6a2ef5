up = "up"
